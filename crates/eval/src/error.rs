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
    /// A request for a likelihood that cannot be answered.
    #[error("request {index}: {problem}")]
    Request {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A question of a task that cannot be scored.
    #[error("task `{task}`: item {item}: {problem}")]
    Item {
        /// Name of the task.
        task: &'static str,
        /// Which, from 1.
        item: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Fewer examples than are asked for.
    #[error("task `{task}`: {found} examples, expected {wanted} before each question")]
    Examples {
        /// Name of the task.
        task: &'static str,
        /// Examples there are.
        found: usize,
        /// Examples wanted.
        wanted: usize,
    },
    /// Replies that leave no room for a prompt.
    #[error(
        "replies of {reply} tokens in a context of {context}, expected fewer: there is no room for a prompt"
    )]
    Context {
        /// Most tokens of a reply.
        reply: usize,
        /// Most tokens of prompt and reply.
        context: usize,
    },
    /// A prompt too short for what it must hold.
    #[error(
        "a haystack with its needle of {length} tokens, expected at least {least}: sentence, question and template"
    )]
    Needle {
        /// Tokens asked for.
        length: usize,
        /// Tokens without any haystack.
        least: usize,
    },
    /// Two models that do not have the same tokens.
    #[error("the student has a vocabulary of {found} tokens, expected the teacher's {expected}")]
    Vocabulary {
        /// Tokens of the student.
        found: usize,
        /// Tokens of the teacher.
        expected: usize,
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
