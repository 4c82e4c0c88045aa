//! `serve`: a model behind HTTP.
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::number::{bytes, positive};
use super::{PrecisionArg, QuantizeArg};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// What clients call the model [default: the last part of its path]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// What projections, embedding and head are held in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Hold the weights of attention, mixers and MLPs in fewer bits: less memory, and on the CPU slower
    #[arg(long, value_name = "TYPE", conflicts_with = "precision")]
    pub quantize: Option<QuantizeArg>,
    /// Address to listen on; one that other machines reach needs a key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Environment variable with the key that clients must send; without it none is needed
    #[arg(long, value_name = "NAME", conflicts_with = "api_key_file")]
    pub api_key_env: Option<String>,
    /// File with that key
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Replies drawn together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub max_streams: usize,
    /// Replies that may wait for their turn; further ones are refused with 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_waiting: usize,
    /// Most tokens of a reply, and as many as a chat that names no number gets
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    pub max_tokens: usize,
    /// Most tokens of a prompt and its reply together [default: the context of the model]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_context: Option<usize>,
    /// Largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "1MB", value_parser = bytes)]
    pub max_body_bytes: usize,
    /// Seconds from a request to the end of its reply
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = positive)]
    pub timeout: usize,
    /// Seconds that a client may take to send a request, or to take a part of a reply
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive)]
    pub client_timeout: usize,
    /// Connections at once; further ones are refused with 503
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    pub max_connections: usize,
}
