//! Ratio after ratio, each from the last: orchestration, resume, the final table.
mod estimate;
mod progression;
mod report;
mod workshop;

pub use estimate::{StageEstimate, describe, measure_flops_per_s, parameters};
pub use progression::{SweepOutcome, run_sweep};
pub use report::{LEGEND, RowKind, SweepRow, markdown_report, markdown_table, text_table};
pub use workshop::Workshop;
