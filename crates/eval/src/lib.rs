//! Measures a model: perplexity, exact-match tasks, decode speed and state size. Knows nothing of training.
//!
//! - [`perplexity`]: teacher-forced likelihood of masked examples or of windows over a text
//! - [`synthetic`]: seeded chat tasks that cannot be solved without looking back
//! - [`report`]: the numbers as a text table, Markdown or JSON
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod error;
pub mod perplexity;
pub mod report;
pub mod synthetic;

pub use error::EvalError;
