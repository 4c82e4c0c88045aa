//! `serve`: a model behind OpenAI's interface.
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_held_in, required_tokenizer};
use crate::cli::{ServeArgs, held};
use crate::commands::{Outcome, key_from_env, template};
use crate::error::DistillError;
use crate::run::StopFlag;
use crate::serve::{Key, Limits, Served, Server};

/// Serves until Ctrl-C or SIGTERM, then finishes what was asked; says on stdout where, once it is ready.
///
/// # Errors
/// An unreadable model or key, a model without tokenizer, an address that cannot be listened on.
pub fn run(args: ServeArgs, device: &Device) -> anyhow::Result<Outcome> {
    let key = key(&args)?;
    if key.is_none() && !args.host.is_loopback() {
        return Err(DistillError::OpenServer { host: args.host }.into());
    }
    let loaded =
        load_held_in::<InnerBackend>(&args.model, held(args.precision, args.quantize), device)?;
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?.clone();
    let template = template::of_model(&args.model, Some(&tokenizer))?;
    let context = loaded.model.config().llama.max_position_embeddings;
    let limits = Limits {
        max_streams: args.max_streams,
        max_waiting: args.max_waiting,
        max_tokens: args.max_tokens,
        max_context: args.max_context.unwrap_or(context).min(context),
        max_body_bytes: args.max_body_bytes,
        max_connections: args.max_connections,
        timeout: Duration::from_secs(args.timeout as u64),
        client_timeout: Duration::from_secs(args.client_timeout as u64),
    };
    let served = Served {
        model: loaded.model,
        tokenizer,
        template,
        name: args.model_name.unwrap_or_else(|| name_of(&args.model)),
    };
    let address = SocketAddr::new(args.host, args.port);
    let server = Server::bind(address, served, limits, key)
        .with_context(|| format!("could not listen on {address}"))?;
    let address = server.address()?;
    let stop = StopFlag::new();
    stop.listen()
        .context("could not listen for Ctrl-C and SIGTERM")?;
    server.run(&stop, || say_ready(address))?;
    Ok(Outcome::Done)
}

fn key(args: &ServeArgs) -> anyhow::Result<Option<Key>> {
    if let Some(variable) = &args.api_key_env {
        return Ok(Some(Key::new(&key_from_env(variable, "--api-key-env")?)));
    }
    let Some(path) = &args.api_key_file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    match text.trim() {
        "" => Err(DistillError::Malformed {
            path: path.clone(),
            found: "is empty".into(),
            expected: "a key".into(),
        }
        .into()),
        key => Ok(Some(Key::new(key))),
    }
}

/// The last part of a model's path.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the server waits for it"
)]
fn say_ready(address: SocketAddr) {
    println!("listening on http://{address}/v1");
}
