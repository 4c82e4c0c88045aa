//! Measures a model: perplexity, exact-match tasks, decode speed and state size. Knows nothing of training.
//!
//! - [`perplexity`]: teacher-forced likelihood of masked examples or of windows over a text
//! - [`fidelity`]: how near a student is to its teacher, on given text and on its own
//! - [`synthetic`]: seeded chat tasks that cannot be solved without looking back
//! - [`exact_match`]: how many of these a model answers to the letter
//! - [`loglikelihood`]: how likely a continuation is, and [`zero_shot`]: the benchmarks made of it
//! - [`generative`]: benchmarks that a model answers in its own words
//! - [`judge`]: benchmarks of chat whose replies another model judges
//! - [`statistics`]: means with their errors, paired differences
//! - [`speed`]: tokens per second of prefill and decoding, bytes of decode state
//! - [`throughput`]: the same by batch and context
//! - [`needle`]: one sentence in a long text
//! - [`speculative`]: speculative decoding beside plain decoding of the same model
//! - [`report`]: the numbers as a text table, Markdown or JSON
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod batching;
mod error;
pub mod exact_match;
pub mod fidelity;
mod fields;
pub mod generative;
pub mod judge;
pub mod loglikelihood;
pub mod needle;
pub mod perplexity;
mod python_literal;
pub mod report;
pub mod speculative;
pub mod speed;
pub mod statistics;
pub mod synthetic;
pub mod throughput;
#[cfg(test)]
mod tiny_model;
mod token_scores;
pub mod zero_shot;

pub use batching::BatchLimits;
pub use error::EvalError;
