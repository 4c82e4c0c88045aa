//! Distils a Llama-family Transformer into Mamba/attention hybrids and shows how much attention it needs.
//!
//! The path of a run: a [`recipe`] (TOML) is resolved into a plan; [`sweep`] walks the plan ratio after ratio;
//! each [`stage`] is data, loss and what is trainable, run by the [`trainer`]; everything that happens is an
//! event of [`run`], which the log writes, and the [`dashboard`] folds.
#![deny(missing_docs)]
#![deny(unsafe_code)]
// Trees of generic modules on an autodiff backend nest deeper than the default limit.
#![recursion_limit = "256"]

pub mod ablation;
pub mod backend;
pub mod builtin;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod curves;
pub mod dashboard;
pub mod data;
pub mod error;
pub mod evaluation;
pub mod hub;
pub mod loss;
pub mod recipe;
pub mod report;
pub mod run;
pub mod serve;
pub mod stage;
mod streaming;
pub mod sweep;
pub mod teacher_cache;
#[cfg(test)]
mod testing;
pub mod trainer;

pub use commands::main_with_args;
pub use error::DistillError;
