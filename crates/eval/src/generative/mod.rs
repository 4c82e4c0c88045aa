//! Benchmarks that a model answers in its own words: one greedy reply a question, then a grade.
//!
//! A [`GenerativeTask`] reads a row as a [`Question`]; [`answer`] lets a model reply through its chat template; the task grades
//! each reply. Nothing here reads files or runs code that a model wrote.
mod crux;
mod gsm8k;
mod humaneval;
mod ifeval;
mod reply;
mod score;
mod task;

pub use humaneval::completion;
pub use score::{GenerativeOptions, GenerativeScore, Graded, answer};
pub use task::{Asked, GenerativeTask, Question};

/// All tasks.
pub const GENERATIVE_TASKS: [GenerativeTask; 4] =
    [gsm8k::TASK, crux::TASK, ifeval::TASK, humaneval::TASK];
