//! What can go wrong in this crate.

/// An error of the `eval` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// There is nothing to score.
    #[error("nothing to score in {found}, expected {expected}")]
    Empty {
        /// What was given.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// A token id that the model does not have.
    #[error(
        "token {index} is id {id}, expected an id below the vocabulary size {vocab_size} \
         (use the model's own tokenizer)"
    )]
    TokenOutOfRange {
        /// Position in the sequence.
        index: usize,
        /// The id found.
        id: u32,
        /// Ids the model has.
        vocab_size: usize,
    },
    /// A mask that does not fit its tokens.
    #[error("example {index}: {flags} mask flags for {tokens} tokens, expected one each")]
    MaskLength {
        /// Which example.
        index: usize,
        /// Flags found.
        flags: usize,
        /// Tokens found.
        tokens: usize,
    },
    /// Windows too short to hold a scored token.
    #[error("window of {found} tokens, expected at least 2: the first is not scored")]
    Window {
        /// Tokens asked for.
        found: usize,
    },
    /// The likelihood is not a number: the weights or the arithmetic are broken.
    #[error(
        "the likelihood of token {index} is {found}, expected a finite number \
         (check the weights for NaN with `inspect`)"
    )]
    NotFinite {
        /// Position in the scored sequence.
        index: usize,
        /// What came out.
        found: f64,
    },
    /// A tokenizer without a known chat template.
    #[error(
        "the tokenizer has the control tokens of no known chat template, expected ChatML, Llama-3 or Zephyr \
         (chat tasks need an instruction-tuned model)"
    )]
    NoChatTemplate,
    /// The model refused.
    #[error(transparent)]
    Model(#[from] model::ModelError),
}
