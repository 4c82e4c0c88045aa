//! Measures a model: perplexity, exact-match tasks, decode speed and state size. Knows nothing of training.
//!
//! - [`perplexity`]: teacher-forced likelihood of masked examples or of windows over a text
//! - [`synthetic`]: seeded chat tasks that cannot be solved without looking back
//! - [`exact_match`]: how many of these a model answers to the letter
//! - [`speed`]: tokens per second of prefill and decoding, bytes of decode state
//! - [`speculative`]: speculative decoding beside plain decoding of the same model
//! - [`report`]: the numbers as a text table, Markdown or JSON
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod error;
pub mod exact_match;
pub mod perplexity;
pub mod report;
pub mod speculative;
pub mod speed;
pub mod synthetic;
#[cfg(test)]
mod tiny_model;

pub use error::EvalError;
