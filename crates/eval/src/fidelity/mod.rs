//! How near a student is to its teacher, without a benchmark that both may fail: on text that is given ([`compare`]), and on
//! text that the student writes itself ([`continue_prompts`], [`judge`]).
mod continuations;
mod teacher_forced;

pub use continuations::{Continuation, Judged, Prompt, continue_prompts, judge};
pub use teacher_forced::{Agreement, compare, perplexity_ratio};
