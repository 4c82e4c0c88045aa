//! Llama teachers and Mamba/attention hybrids: hold, convert, load, run.
#![forbid(unsafe_code)]

mod chat_template;
mod error;
pub mod load;
mod tokenizer;

pub use chat_template::{ChatTemplate, EncodedChat, Message, Role};
pub use error::ModelError;
pub use tokenizer::Tokenizer;
