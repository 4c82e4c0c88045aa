//! The run as plain lines, for pipes, logs and `--no-tui`.
use super::words::{duration, evaluated_line, percent, rewound_line, skipped_line, stage_label};
use crate::run::{Event, TimedEvent};

/// One line an event; of the steps, the first, the last and some between.
#[derive(Debug, Default)]
pub struct PlainLines {
    steps: usize,
    last_step_ms: u64,
}

/// Least time between two step lines.
const STEP_LINE_MS: u64 = 5000;

impl PlainLines {
    /// Before the first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the event says, if it is worth a line.
    pub fn line(&mut self, timed: &TimedEvent) -> Option<String> {
        Some(match &timed.event {
            Event::RunStarted {
                name,
                teacher,
                teacher_size,
                backend,
                stages,
                is_resumed,
                ..
            } => format!(
                "{} {name}: teacher {teacher} ({} layers, {:.2} M parameters), {} stages, backend {backend}",
                if *is_resumed { "resuming" } else { "running" },
                teacher_size.n_layers,
                teacher_size.parameters as f64 / 1e6,
                stages.len(),
            ),
            Event::StageStarted {
                arm,
                attention_ratio,
                stage,
                steps,
            } => {
                self.steps = *steps;
                self.last_step_ms = 0;
                format!(
                    "{arm} {}: {steps} steps",
                    stage_label(*attention_ratio, *stage)
                )
            }
            Event::Step {
                step,
                loss,
                ce,
                kl,
                margin,
                accuracy,
                lr,
                grad_norm,
                tokens_per_s,
                ..
            } => {
                let is_due = timed.time_ms.saturating_sub(self.last_step_ms) >= STEP_LINE_MS;
                if !(is_due || *step == self.steps) {
                    return None;
                }
                self.last_step_ms = timed.time_ms;
                let mut line = format!("  step {step}/{}: loss {loss:.4}", self.steps);
                for (name, value) in [("ce", ce), ("kl", kl), ("margin", margin)] {
                    if let Some(value) = value {
                        line += &format!(", {name} {value:.4}");
                    }
                }
                if let Some(accuracy) = accuracy {
                    line += &format!(", accuracy {} %", percent(*accuracy));
                }
                line + &format!(
                    ", lr {lr:.2e}, grad norm {grad_norm:.3}, {tokens_per_s:.0} tokens/s"
                )
            }
            Event::Evaluated {
                arm,
                attention_ratio,
                stage,
                perplexity,
                perplexity_ratio,
                tasks,
                ..
            } => evaluated_line(
                arm,
                *attention_ratio,
                *stage,
                *perplexity,
                *perplexity_ratio,
                tasks,
            ),
            Event::StageFinished {
                checkpoint,
                wall_ms: 0,
            } => format!("  reusing {checkpoint}"),
            Event::StageFinished {
                checkpoint,
                wall_ms,
            } => format!("  saved {checkpoint} after {}", duration(*wall_ms)),
            Event::Rewound {
                step,
                to_step,
                rewind,
                max_rewinds,
                reason,
            } => rewound_line(*step, *to_step, *rewind, *max_rewinds, reason),
            Event::Skipped { step, reason } => skipped_line(*step, reason),
            Event::Paused { step } => format!("paused after step {step}"),
            Event::Continued => "going on".into(),
            Event::Device { .. }
            | Event::Student { .. }
            | Event::Profile { .. }
            | Event::Samples { .. } => return None,
            Event::Note { text } => text.clone(),
            Event::RunInterrupted => "interrupted".into(),
            Event::RunFailed { message } => format!("failed: {message}"),
            Event::RunFinished { .. } => "finished".into(),
        })
    }
}
