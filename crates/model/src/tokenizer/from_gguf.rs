//! The tokenizer of a GGUF file, rebuilt from its metadata.

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use super::train::byte_level;
use super::{Splitting, Tokenizer, special_token, tokenizer_error};
use crate::error::ModelError;
use crate::load::gguf::{GgufFile, Value};

/// Token type of control tokens.
const CONTROL: i64 = 3;
/// Token type of added tokens that are ordinary text.
const USER_DEFINED: i64 = 4;

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF file whose model is `gpt2`, with the splitting of GPT-2, SmolLM, Llama 3 or Qwen2.
    ///
    /// The file's control tokens become special tokens. 21 bytes have no token in SmolLM2's
    /// vocabulary; text loses them when it is encoded.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] when the metadata is missing, contradictory or of another kind;
    /// [`ModelError::Tokenizer`] when the vocabulary does not hold what the merges make.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let named = |key: &str| Ok::<_, ModelError>(file.text(key)?.unwrap_or("none"));
        let unknown = |key: &str, found: &str, expected: String| {
            let cure = format!("{expected} (for others load the Hugging Face directory)");
            file.invalid(format!("`{key}`"), format!("`{found}`"), cure)
        };
        let key = "tokenizer.ggml.model";
        let found = named(key)?;
        if found != "gpt2" {
            return Err(unknown(key, found, "`gpt2`".into()));
        }
        let key = "tokenizer.ggml.pre";
        let found = named(key)?;
        let splitting =
            Splitting::of_name(found).ok_or_else(|| unknown(key, found, Splitting::names()))?;
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
        // Llama 3 takes a whole word that is a token before it merges.
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(splitting == Splitting::Llama3)
            .build();
        let bpe = bpe.map_err(|source| tokenizer_error(&name, source.to_string()))?;

        let mut inner = byte_level(bpe, splitting)?;
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
