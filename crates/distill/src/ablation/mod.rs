//! Ablations: the arms of a comparison are students of one run; what they scored, over seeds, beside what the paper found.
mod catalogue;
mod losses;
mod report;
mod results;

pub use catalogue::{ABLATIONS, Catalogue, REPRODUCTIONS};
pub use report::{LEGEND, check_line, json_report, markdown_report, text_report, write};
pub use results::{CheckResult, Comparison, RowResult, SeedResult, Verdict, compare};
