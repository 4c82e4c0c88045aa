//! The state behind every view.
use std::collections::VecDeque;

use super::{LogLine, Look, StageView};
use crate::dashboard::{Theme, Vitals};
use crate::run::ModelSize;
use crate::sweep::SweepRow;

/// How the run stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RunStatus {
    /// No event yet.
    #[default]
    Waiting,
    /// Going on.
    Running,
    /// The user asked to stop; the current step is being finished.
    Stopping,
    /// Stopped by the user.
    Interrupted,
    /// Ended by an error.
    Failed(String),
    /// Complete.
    Finished,
}

/// Numbers of the last step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LastStep {
    /// What was minimised.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// Tokens of the stage so far.
    pub tokens: u64,
}

/// What the run computes with.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    /// How burn calls it.
    pub name: String,
    /// What it does in matrix products, floating-point operations a second.
    pub peak_flops_per_s: f64,
    /// Memory of the host.
    pub host_total_bytes: Option<u64>,
}

/// The state behind every view.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct App {
    /// Name of the run.
    pub name: String,
    /// Teacher as the recipe calls it.
    pub teacher: String,
    /// Size of the teacher.
    pub teacher_size: Option<ModelSize>,
    /// Perplexity of the teacher.
    pub teacher_perplexity: Option<f64>,
    /// Backend name.
    pub backend: String,
    /// What the run computes with.
    pub device: Option<DeviceView>,
    /// How the run stands.
    pub status: RunStatus,
    /// Whether it pauses.
    pub is_paused: bool,
    /// Every stage of the plan.
    pub stages: Vec<StageView>,
    /// Index into `stages` of the one under way, or last under way.
    pub current: Option<usize>,
    /// Stage whose curves are shown; `None` follows the current one.
    pub selected: Option<usize>,
    /// Numbers of the last step.
    pub last: LastStep,
    /// Newest line last.
    pub log: VecDeque<LogLine>,
    /// The final table.
    pub rows: Vec<SweepRow>,
    /// Steps of the current stage that were left out, and its rewinds.
    pub troubles: (usize, usize),
    /// Lines of the log that are no events of this version.
    pub skipped_lines: usize,
    /// Share of the log that is read, while that takes long.
    pub reading: Option<f64>,
    /// What is around the run.
    pub vitals: Vitals,
    /// Whether `q` leaves the run alone: it is watched, not run.
    pub is_watching: bool,
    /// Other runs to compare with.
    pub others: Vec<App>,
    /// What the user looks at.
    pub look: Look,
    /// What the terminal can show.
    pub theme: Theme,
    /// Time of the newest event or tick, ms since the epoch.
    pub now_ms: u64,
    /// Time of the newest event, ms since the epoch.
    pub last_event_ms: u64,
    /// Time of the (last) start, ms since the epoch.
    pub started_ms: u64,
    /// Steps since that start, for the estimate.
    pub steps_done: usize,
}

impl App {
    /// Stage whose curves are shown.
    pub fn shown(&self) -> Option<&StageView> {
        self.selected
            .or(self.current)
            .and_then(|index| self.stages.get(index))
    }

    /// Time since the (last) start, ms.
    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.started_ms)
    }

    /// Whether much of the log is still to be read.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Lets time pass without an event.
    pub fn tick(&mut self, now_ms: u64) {
        if matches!(self.status, RunStatus::Running | RunStatus::Stopping) {
            self.now_ms = self.now_ms.max(now_ms);
        }
    }
}
