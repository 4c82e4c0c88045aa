//! Curves of a run: what its logs say of every stage, drawn as SVG.

mod axis;
mod draw;
mod history;
mod metric;
mod panel;

pub use draw::{Charts, charts, draw};
pub use history::{Profile, RunHistory, StageHistory, StudentHistory, history};
pub use metric::{Metric, StepValues};
pub use panel::student;
