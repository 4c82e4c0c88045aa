//! Every checkpoint of a run beside its teacher (`eval all`): measured once, kept in the run folder, compared in one table.
//!
//! What a small teacher cannot do ranks no student, so the comparison rests on how near a student is to its teacher: on
//! held-out replies, on text that the student writes itself, and on what it finds how far back. Benchmarks stand beside it.
pub mod chat;
mod gate;
mod kept;
mod measures;
mod report;
pub mod sandbox;
mod subjects;

use eval::BatchLimits;

pub use gate::{Gate, GateResult};
pub use kept::{FOLDER, Kept};
pub use measures::{Bench, EvaluationSettings, Measured};
pub(crate) use report::metric_cell;
pub use report::{Summary, json_report, markdown_report, summaries, text_report};
pub use subjects::{Subject, subjects};

/// How much is measured at once on the device of this binary.
pub fn batch_limits() -> BatchLimits {
    match crate::backend::IS_HOST {
        true => BatchLimits::HOST,
        false => BatchLimits::DEVICE,
    }
}
