//! Benchmarks of log-likelihoods, as lm-evaluation-harness defines them: no text is generated.
//!
//! A [`Task`] reads a row of a file, in the schema of the hub, as an [`Item`]; [`score`] asks a model how likely each answer
//! is and compares. Nothing here reads files.
mod hellaswag;
mod lambada;
mod mmlu;
mod pubmedqa;
mod questions;
mod race;
mod score;
mod task;
mod truthfulqa;
mod winogrande;

pub use crate::fields::{FieldProblem, Fields};
pub use score::{ItemScore, MetricValue, TaskScore, ZeroShotOptions, score};
pub use task::{Choice, Gold, Item, Metric, Task};

/// All tasks, in the order of the paper's table 3, then the others.
pub const TASKS: [Task; 12] = [
    winogrande::TASK,
    questions::PIQA,
    hellaswag::TASK,
    questions::ARC_EASY,
    questions::ARC_CHALLENGE,
    mmlu::TASK,
    questions::OPENBOOKQA,
    truthfulqa::MC2,
    pubmedqa::TASK,
    race::TASK,
    truthfulqa::MC1,
    lambada::TASK,
];
