//! Ratio after ratio, each from the last: orchestration, resume, the final table.
mod estimate;
mod layer_ranking;
mod models;
mod progression;
mod report;
mod selection;
mod teacher;
mod workshop;

pub use estimate::{StageEstimate, describe, measure_flops_per_s, parameters};
pub use models::{ModelWorkshop, check_ratios, model_size};
pub use progression::{SweepOutcome, SweepSetup, run_sweep};
pub use report::{LEGEND, RowKind, SweepRow, markdown_report, markdown_table, rows, text_table};
pub use selection::Selection;
pub use teacher::{Teacher, teacher_name};
pub use workshop::{Ranking, Training, Workshop};
