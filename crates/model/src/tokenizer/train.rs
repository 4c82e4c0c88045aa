//! Training a byte-level BPE tokenizer on a small corpus.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Splitting, Tokenizer, special_token, tokenizer_error};
use crate::error::ModelError;

impl Tokenizer {
    /// Trains byte-level BPE of at most `vocab_size` tokens on `texts`, with SmolLM2's splitting
    /// (single digits, then the GPT-2 pattern).
    ///
    /// Ids: first `specials` in their order, then the 256 bytes, then merges, the commonest first
    /// with ties broken by id, so equal input gives equal output. A small corpus may give fewer than
    /// `vocab_size`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when `vocab_size` does not hold the bytes and the specials.
    pub fn train_bpe<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
        vocab_size: usize,
        specials: &[&str],
    ) -> Result<Self, ModelError> {
        const NAME: &str = "BPE training";
        let least = 256 + specials.len();
        if vocab_size < least {
            let problem = format!("vocab_size is {vocab_size}, must be at least {least}");
            return Err(tokenizer_error(NAME, problem));
        }
        let mut inner = byte_level(BPE::default(), Splitting::SmolLm)?;
        let builder = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .special_tokens(specials.iter().map(|token| special_token(token)).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect());
        let mut trainer = TrainerWrapper::BpeTrainer(builder.build());
        let texts: Vec<String> = texts
            .into_iter()
            .map(|text| text.as_ref().to_string())
            .collect();
        inner
            .train(&mut trainer, texts.iter())
            .map_err(|source| tokenizer_error(NAME, source.to_string()))?;
        Self::new(inner, NAME)
    }
}

/// `model` between `splitting` and the byte-level decoder.
pub(super) fn byte_level(
    model: BPE,
    splitting: Splitting,
) -> Result<tokenizers::Tokenizer, ModelError> {
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(splitting.pre_tokenizer()?));
    inner.with_decoder(Some(ByteLevel::new(false, true, true)));
    Ok(inner)
}
