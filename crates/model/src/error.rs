//! What can go wrong in this crate.

use std::path::PathBuf;

/// An error of the `model` crate: the thing, what was found, what was expected, the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("`{}`", path.display())]
    Io {
        /// The file
        path: PathBuf,
        /// What the system said
        source: std::io::Error,
    },
    /// A file ends before what it announces.
    #[error(
        "`{}` is cut short: {field} needs {needed} bytes of file, it has {found} (fetch it again)",
        path.display()
    )]
    Truncated {
        /// The file
        path: PathBuf,
        /// The field or tensor that does not fit
        field: String,
        /// Bytes the file would need to have, at least
        needed: u64,
        /// Bytes it has
        found: u64,
    },
    /// A GGUF file says something impossible or unsupported.
    #[error("`{}`: {field}: found {found}, expected {expected}", path.display())]
    Gguf {
        /// The file
        path: PathBuf,
        /// Metadata key, tensor or part of the header
        field: String,
        /// What it says
        found: String,
        /// What it could say
        expected: String,
    },
    /// A tokenizer cannot be used.
    #[error("tokenizer `{name}`: {problem}")]
    Tokenizer {
        /// File or other origin
        name: String,
        /// What is wrong with it, and the cure
        problem: String,
    },
    /// A chat template needs a token that the tokenizer does not have.
    #[error(
        "the {template} template needs the special token `{token}`, which the tokenizer lacks \
         (choose the template the model was trained with)"
    )]
    MissingToken {
        /// The token
        token: &'static str,
        /// The template
        template: &'static str,
    },
    /// A prompt cannot be answered.
    #[error("prompt {index}: {problem}")]
    Prompt {
        /// Index in the batch
        index: usize,
        /// What is wrong with it
        problem: String,
    },
}
