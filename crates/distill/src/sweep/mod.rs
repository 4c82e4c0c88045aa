//! Ratio after ratio, each from the last: orchestration, resume, the final table.
mod progression;
mod report;
mod workshop;

pub use progression::{SweepOutcome, run_sweep};
pub use report::{LEGEND, RowKind, SweepRow, markdown_report, markdown_table, text_table};
pub use workshop::Workshop;
