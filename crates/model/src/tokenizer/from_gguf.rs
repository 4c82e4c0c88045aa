//! The tokenizer of a GGUF file, rebuilt from its metadata.

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use super::train::byte_level;
use super::{Tokenizer, special_token, tokenizer_error};
use crate::error::ModelError;
use crate::load::gguf::{GgufFile, Value};

/// Token type of control tokens.
const CONTROL: i64 = 3;
/// Token type of added tokens that are ordinary text.
const USER_DEFINED: i64 = 4;

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF file whose model is `gpt2` and splitting `smollm`.
    ///
    /// The file's control tokens become special tokens. 21 bytes have no token in SmolLM2's
    /// vocabulary; text loses them when it is encoded.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] when the metadata is missing, contradictory or of another kind;
    /// [`ModelError::Tokenizer`] when the vocabulary does not hold what the merges make.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        for (key, expected) in [
            ("tokenizer.ggml.model", "gpt2"),
            ("tokenizer.ggml.pre", "smollm"),
        ] {
            let found = file.text(key)?.unwrap_or("none");
            if found != expected {
                let cure = format!("`{expected}` (for others put tokenizer.json beside the file)");
                return Err(file.invalid(format!("`{key}`"), format!("`{found}`"), cure));
            }
        }
        let absent =
            |key: &str| file.invalid(format!("`{key}`"), "nothing", "the tokenizer's data");
        let key = "tokenizer.ggml.tokens";
        let tokens = file.texts(key)?.ok_or_else(|| absent(key))?;
        let key = "tokenizer.ggml.merges";
        let merge_lines = file.texts(key)?.ok_or_else(|| absent(key))?;
        let types = token_types(file, tokens.len())?;

        let mut merges = Vec::with_capacity(merge_lines.len());
        for (index, line) in merge_lines.iter().enumerate() {
            let pieces = line
                .split_once(' ')
                .filter(|(_, right)| !right.contains(' '));
            let (left, right) = pieces.ok_or_else(|| {
                file.invalid(
                    format!("merge {index}"),
                    format!("`{line}`"),
                    "two pieces, one space",
                )
            })?;
            merges.push((left.to_string(), right.to_string()));
        }
        let ids = tokens.iter().enumerate();
        let vocab: Vocab = ids
            .map(|(id, token)| (token.to_string(), id as u32))
            .collect();
        if vocab.len() != tokens.len() {
            return Err(file.invalid("`tokenizer.ggml.tokens`", "a token twice", "each once"));
        }
        let name = file.path().display().to_string();
        let bpe = BPE::builder().vocab_and_merges(vocab, merges).build();
        let bpe = bpe.map_err(|source| tokenizer_error(&name, source.to_string()))?;

        let mut inner = byte_level(bpe);
        let of_type = |wanted: i64| {
            let pairs = tokens.iter().zip(&types);
            pairs
                .filter(move |(_, found)| **found == wanted)
                .map(|(token, _)| *token)
        };
        let specials: Vec<_> = of_type(CONTROL).map(special_token).collect();
        inner.add_special_tokens(&specials);
        let defined: Vec<_> = of_type(USER_DEFINED)
            .map(|token| AddedToken::from(token, false).normalized(false))
            .collect();
        inner.add_tokens(&defined);
        Self::new(inner, &name)
    }
}

fn token_types(file: &GgufFile, n_tokens: usize) -> Result<Vec<i64>, ModelError> {
    let key = "tokenizer.ggml.token_type";
    let values = file.array(key)?.unwrap_or_default();
    if values.len() != n_tokens {
        let found = format!("{} types", values.len());
        return Err(file.invalid(
            format!("`{key}`"),
            found,
            format!("{n_tokens}, one a token"),
        ));
    }
    let types = values.iter().map(|value| match value {
        Value::Signed(value) => Ok(*value),
        Value::Unsigned(value) => Ok(*value as i64),
        other => Err(file.invalid(format!("`{key}`"), format!("{other:?}"), "integers")),
    });
    types.collect()
}
