//! A byte-level BPE tokenizer as GGUF metadata.

use serde_json::Value;

use super::writer::GgufWriter;
use crate::config::HybridConfig;
use crate::error::ModelError;
use crate::tokenizer::{Splitting, Tokenizer};

/// Codes of token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Tokens, merges and splitting; rows of the embedding beyond the tokens are written as unused.
pub(super) fn metadata(
    file: &mut GgufWriter,
    tokenizer: &Tokenizer,
    config: &HybridConfig,
) -> Result<(), ModelError> {
    let problem = |problem: String| ModelError::Tokenizer {
        name: "to export".into(),
        problem,
    };
    let text = tokenizer.to_json()?;
    let json: Value = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    let splitting = Splitting::of_json(&json).ok_or_else(|| {
        problem(format!(
            "GGUF has no name for how it splits text, {} (export with `--format hf`)",
            json["pre_tokenizer"]
        ))
    })?;
    let vocab_size = config.llama.vocab_size;
    let mut tokens: Vec<String> = (0..vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; vocab_size];
    let mut put = |id: u64, token: &str, token_type: i32| -> Result<(), ModelError> {
        let at = usize::try_from(id).ok().filter(|at| *at < vocab_size);
        let Some(at) = at else {
            let size = format!("but the embedding has {vocab_size} rows");
            return Err(problem(format!("token {id} is `{token}`, {size}")));
        };
        tokens[at] = token.into();
        types[at] = token_type;
        Ok(())
    };
    let vocab = json["model"]["vocab"].as_object();
    for (token, id) in vocab.into_iter().flatten() {
        put(id.as_u64().unwrap_or(u64::MAX), token, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let token_type = match added["special"].as_bool() {
            Some(true) => CONTROL,
            _ => USER_DEFINED,
        };
        let id = added["id"].as_u64().unwrap_or(u64::MAX);
        put(
            id,
            added["content"].as_str().unwrap_or_default(),
            token_type,
        )?;
    }
    let merges = json["model"]["merges"].as_array();
    let merges = merges.into_iter().flatten().filter_map(|merge| {
        // One text, or two.
        let pair = || Some(format!("{} {}", merge[0].as_str()?, merge[1].as_str()?));
        merge.as_str().map(str::to_owned).or_else(pair)
    });
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", splitting.name());
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.i32s("tokenizer.ggml.token_type", &types);
    file.texts("tokenizer.ggml.merges", &merges.collect::<Vec<_>>());
    Ok(())
}

/// The tokens that begin a text and end a reply. None is put before a text unasked: templates do that.
pub(super) fn control_tokens(file: &mut GgufWriter, bos: Option<u32>, ends: &[u32]) {
    if let Some(bos) = bos {
        file.u32("tokenizer.ggml.bos_token_id", bos);
    }
    let keys = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
    for (key, id) in keys.into_iter().zip(ends) {
        file.u32(key, *id);
    }
    file.boolean("tokenizer.ggml.add_bos_token", false);
}
