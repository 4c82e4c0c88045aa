//! Llama teachers and Mamba/attention hybrids: hold, convert, load, run.
#![forbid(unsafe_code)]

mod error;
pub mod load;
mod tokenizer;

pub use error::ModelError;
pub use tokenizer::Tokenizer;
