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
    let mut ids = config.llama.eos_token_ids.clone();
    if let (Some(template), Some(tokenizer)) = (template, tokenizer) {
        let end = template.end_of_turn(tokenizer)?;
        if !ids.contains(&end) {
            ids.push(end);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
