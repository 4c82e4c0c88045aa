//! Chat benchmarks that another model judges: MT-Bench (arXiv 2306.05685) and AlpacaEval 2 (arXiv 2404.04475), method 6.
//!
//! A [`Protocol`] reads rows of the published files as [`ChatQuestion`]s and [`ChatAnswer`]s; [`single_asks`] and
//! [`pairwise_asks`] say what a judge is asked; [`Kind::value`] reads what it said; [`score`](mod@score) and
//! [`length_controlled`](mod@length_controlled) make numbers of it. Nothing here speaks to a judge or reads files.
mod ask;
pub mod length_controlled;
mod prompts;
mod protocol;
pub mod score;
mod verdict;

pub use ask::{Ask, Order, pairwise_asks, single_asks};
pub use prompts::JudgePrompts;
pub use protocol::{ChatAnswer, ChatQuestion, Protocol, temperature};
pub use verdict::{Kind, Said};
