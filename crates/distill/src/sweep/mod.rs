//! Ratio after ratio, each from the last: orchestration, resume, the final table.
mod report;

pub use report::{RowKind, SweepRow, markdown_table, text_table};
