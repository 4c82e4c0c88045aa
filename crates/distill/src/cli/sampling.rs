//! How tokens are drawn, of every verb that answers a person.
use clap::Args;
use model::Sampling;

use super::number::{positive, probability, temperature};

/// Arguments of sampling.
#[derive(Debug, Clone, Args)]
pub struct SamplingArgs {
    /// Sampling temperature; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f32,
    /// Sample among this many most likely tokens
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top_k: Option<usize>,
    /// Sample among the most likely tokens with this total probability
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f32>,
}

impl SamplingArgs {
    /// Draws of at most `max_tokens` tokens, which one of `stop_tokens` ends.
    pub fn sampling(&self, max_tokens: usize, seed: u64, stop_tokens: Vec<u32>) -> Sampling {
        Sampling {
            max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed,
            stop_tokens,
        }
    }
}
