//! Shares, times and results as words.
use crate::recipe::StageKind;

/// A share as percent without needless zeros: `50`, `12.5`, `0`.
pub fn percent(attention_ratio: f64) -> String {
    format!("{}", (attention_ratio * 1e4).round() / 1e2)
}

/// `50 % sft`.
pub fn stage_label(attention_ratio: f64, kind: StageKind) -> String {
    format!("{} % {}", percent(attention_ratio), kind.name())
}

/// `1h 02m`, `3m 05s`, `12s`.
pub fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

/// `01:02:03`.
pub(super) fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// One line about a rewind.
pub(super) fn rewound_line(
    step: usize,
    to_step: usize,
    rewind: usize,
    max_rewinds: usize,
    reason: &str,
) -> String {
    format!("rewound from step {step} to {to_step} ({rewind} of {max_rewinds}): {reason}")
}

/// One line about a step that was not taken.
pub(super) fn skipped_line(step: usize, reason: &str) -> String {
    format!("step {step} left out: {reason}")
}

/// One line about an evaluation, for the log and for plain output.
pub fn evaluated_line(
    arm: &str,
    attention_ratio: f64,
    stage: Option<StageKind>,
    perplexity: f64,
    perplexity_ratio: f64,
    tasks: &[(String, f64)],
) -> String {
    let what = match stage {
        Some(kind) => format!(
            "{arm} {}: perplexity {perplexity:.3} ({perplexity_ratio:.3} x teacher)",
            stage_label(attention_ratio, kind)
        ),
        None => format!("teacher: perplexity {perplexity:.3}"),
    };
    tasks.iter().fold(what, |line, (task, score)| {
        format!("{line}, {task} {:.1} %", score * 100.0)
    })
}
