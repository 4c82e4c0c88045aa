//! What somebody should look at.
use super::{App, RunStatus};
use crate::dashboard::duration;

/// Silence after which a trainer is taken for stalled: at least this long, and this many of its steps.
const STALL_MS: u64 = 30_000;
const STALL_STEPS: f64 = 20.0;
/// The same while it prepares or measures, which take no steps.
const STALL_WITHOUT_STEPS_MS: u64 = 600_000;

impl App {
    /// What is wrong just now, most urgent first.
    pub fn alerts(&self) -> Vec<String> {
        let mut alerts = Vec::new();
        if let RunStatus::Failed(message) = &self.status {
            alerts.push(format!("failed: {message}"));
        }
        if self.vitals.is_gone {
            alerts.push("the run folder is gone".into());
        }
        if let Some(free) = self.vitals.low_disk() {
            alerts.push(format!("the disk is low: {} MiB are free", free >> 20));
        }
        let is_going_on = matches!(self.status, RunStatus::Running | RunStatus::Stopping);
        if is_going_on && self.vitals.is_held == Some(false) {
            alerts.push("nobody trains: killed? `sweep --resume` goes on".into());
        } else if let Some(ms) = self.stalled_ms() {
            alerts.push(format!("stalled: no event for {}", duration(ms)));
        }
        if let Some(stage) = self.current.and_then(|index| self.stages.get(index)) {
            if stage.is_diverging() {
                alerts.push("the loss diverges: far above the best that it was".into());
            }
            match self.troubles {
                (0, 0) => {}
                (skipped, rewinds) => alerts.push(format!(
                    "{skipped} steps of this stage left out (NaN or infinite), {rewinds} rewinds"
                )),
            }
        }
        if self.skipped_lines > 0 {
            alerts.push(format!(
                "{} lines of the log are torn or of a newer version, and left out",
                self.skipped_lines
            ));
        }
        alerts
    }

    /// How long nothing has been heard, if that is too long.
    fn stalled_ms(&self) -> Option<u64> {
        if self.status != RunStatus::Running || self.is_paused || self.is_reading() {
            return None;
        }
        let silence = self.now_ms.saturating_sub(self.last_event_ms);
        let stage = self.current.and_then(|index| self.stages.get(index));
        let is_stepping = stage.filter(|stage| (1..stage.steps).contains(&stage.step));
        let limit = match is_stepping.and_then(super::StageView::ms_per_step) {
            Some(ms) => STALL_MS.max((STALL_STEPS * ms) as u64),
            None => STALL_WITHOUT_STEPS_MS,
        };
        (silence > limit).then_some(silence)
    }
}
