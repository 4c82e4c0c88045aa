//! How byte-level tokenizers cut text before they merge, by the names that llama.cpp has for it.

use serde_json::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::tokenizer_error;
use crate::error::ModelError;

/// A way of cutting text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Splitting {
    /// The pattern of GPT-2
    Gpt2,
    /// Single digits, then the pattern of GPT-2
    SmolLm,
    /// Up to three digits, words with what stands before them
    Llama3,
    /// As Llama 3, single digits
    Qwen2,
}

const ALL: [Splitting; 4] = [
    Splitting::Gpt2,
    Splitting::SmolLm,
    Splitting::Llama3,
    Splitting::Qwen2,
];

impl Splitting {
    /// The name in `tokenizer.ggml.pre`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt-2",
            Self::SmolLm => "smollm",
            Self::Llama3 => "llama-bpe",
            Self::Qwen2 => "qwen2",
        }
    }

    /// The splitting of a `tokenizer.ggml.pre`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|splitting| splitting.name() == name)
    }

    /// All names, for messages.
    pub(crate) fn names() -> String {
        ALL.map(|splitting| format!("`{}`", splitting.name()))
            .join(", ")
    }

    /// The splitting of the `tokenizer.json` read as `json`.
    pub(crate) fn of_json(json: &Value) -> Option<Self> {
        let model = &json["model"];
        let is_plain = |field: &str| !model[field].as_bool().unwrap_or(false);
        if model["type"] != "BPE" || !is_plain("byte_fallback") || !json["normalizer"].is_null() {
            return None;
        }
        let pre = &json["pre_tokenizer"];
        let is_bytes = |part: &Value, by_pattern: bool| {
            part["type"] == "ByteLevel"
                && part["add_prefix_space"] == false
                && part["use_regex"].as_bool().unwrap_or(true) == by_pattern
        };
        if is_bytes(pre, true) {
            return Some(Self::Gpt2);
        }
        let [first, second] = pre["pretokenizers"].as_array()?.as_slice() else {
            return None;
        };
        let is_digits = first["type"] == "Digits" && first["individual_digits"] == true;
        if is_digits && is_bytes(second, true) {
            return Some(Self::SmolLm);
        }
        let pattern = first["pattern"]["Regex"].as_str()?;
        let is_split = first["type"] == "Split" && first["behavior"] == "Isolated";
        let known = [Self::Llama3, Self::Qwen2];
        let known = known.into_iter().find(|known| known.pattern() == pattern);
        known.filter(|_| is_split && is_bytes(second, false))
    }

    /// What cuts text so.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] if the pattern is not understood.
    pub(crate) fn pre_tokenizer(self) -> Result<PreTokenizerWrapper, ModelError> {
        let bytes = |by_pattern: bool| ByteLevel::new(false, true, by_pattern).into();
        let parts = match self {
            Self::Gpt2 => return Ok(bytes(true)),
            // Digits come off alone before the pattern runs, so a space before a digit is a token.
            Self::SmolLm => vec![Digits::new(true).into(), bytes(true)],
            Self::Llama3 | Self::Qwen2 => {
                let pattern = SplitPattern::Regex(self.pattern());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
                let split =
                    split.map_err(|source| tokenizer_error(self.name(), source.to_string()))?;
                vec![split.into(), bytes(false)]
            }
        };
        Ok(Sequence::new(parts).into())
    }

    /// The published pattern of Llama 3 and Qwen2.
    fn pattern(self) -> String {
        let digits = if self == Self::Llama3 {
            "\\p{N}{1,3}"
        } else {
            "\\p{N}"
        };
        format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\
             \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        )
    }
}
