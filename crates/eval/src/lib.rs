//! Measures a model: perplexity, exact-match tasks, decode speed and state size. Knows nothing of training.
//!
//! - [`synthetic`]: seeded chat tasks that cannot be solved without looking back
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod synthetic;
