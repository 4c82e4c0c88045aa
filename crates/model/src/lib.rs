//! Llama teachers and Mamba/attention hybrids: hold, convert, load, run.
#![forbid(unsafe_code)]

mod error;
pub mod load;

pub use error::ModelError;
