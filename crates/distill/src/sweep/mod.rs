//! Ratio after ratio, each from the last: orchestration, resume, the final table.
mod estimate;
mod layer_ranking;
mod models;
mod progression;
mod report;
mod samples;
mod selection;
mod teacher;
mod workshop;

pub use estimate::{
    StageEstimate, describe, measure_flops_per_s, measure_peak_flops_per_s, parameters,
};
pub use models::{ModelWorkshop, check_ratios, layer_plan, model_size};
pub use progression::{SweepOutcome, SweepSetup, run_sweep, write_report};
pub use report::{
    LEGEND, RowKind, SweepRow, markdown_report, markdown_table, rows, table, text_table,
};
pub use samples::Prompts;
pub use selection::Selection;
pub use teacher::{Teacher, teacher_name};
pub use workshop::{Ranking, Training, Workshop};
