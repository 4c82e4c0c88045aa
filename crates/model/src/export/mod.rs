//! Models out in the formats of others: folders as the published hybrids come, and GGUF files.

mod folder;
mod gguf;
mod published_form;

pub use folder::{FolderExport, export_folder};
pub use gguf::export_gguf;

use crate::chat_template::ChatTemplate;
use crate::config::HybridConfig;
use crate::error::ModelError;
use crate::tokenizer::Tokenizer;

/// Tokens that end a reply: those of the configuration, then the one that ends a turn.
fn end_tokens(
    config: &HybridConfig,
    template: Option<&ChatTemplate>,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<u32>, ModelError> {
    match (template, tokenizer) {
        (Some(template), Some(tokenizer)) => template.stop_tokens(&config.llama, tokenizer),
        _ => Ok(config.llama.eos_token_ids.clone()),
    }
}

#[cfg(test)]
mod tests;
