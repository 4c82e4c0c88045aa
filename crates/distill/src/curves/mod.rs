//! Curves of a run: loss and KL of every stage and perplexity after it, folded from the logs and drawn as SVG.

mod axis;
mod draw;
mod history;
mod panel;

pub use draw::draw;
pub use history::{StageHistory, history};
