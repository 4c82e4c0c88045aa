//! `eval chat`: a model answers the questions of a chat benchmark, and another one judges the answers.
//!
//! Answers and what the judge said are lines of two files in one folder, found by hashes of what was asked, so that an evaluation
//! goes on where it was stopped, and another judge reads the same answers.
mod answers;
mod endpoint;
mod judge;
mod lines;
mod local;
mod report;
mod rows;

pub use answers::{Answered, Answering};
pub use endpoint::{Endpoint, EndpointOptions};
pub use judge::{Judge, hear_all};
pub use lines::KeptLines;
pub use local::LocalJudge;
pub use report::{ChatReport, JudgeName, Mode, Named, Verdicts, markdown, text};
pub use rows::{BUILTIN, Questions, aligned, read_answers, read_prompts};
