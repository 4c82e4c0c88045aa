//! How long it will take.
use super::{App, Progress, RunStatus, StageView};
use crate::recipe::StageKind;

impl App {
    /// Planned steps that are left.
    pub fn steps_left(&self) -> usize {
        self.stages
            .iter()
            .map(|stage| stage.steps.saturating_sub(stage.step))
            .sum()
    }

    /// Time that is left, ms, if steps go on taking as long as they did, evaluation included.
    pub fn eta_ms(&self) -> Option<u64> {
        let is_going_on = matches!(self.status, RunStatus::Running | RunStatus::Stopping);
        (is_going_on && self.steps_done > 0)
            .then(|| self.elapsed_ms() / self.steps_done as u64 * self.steps_left() as u64)
    }

    /// Time that the steps of a stage will still take, ms, as those of its kind did.
    pub fn stage_eta_ms(&self, stage: &StageView) -> Option<u64> {
        let left = match stage.progress {
            Progress::Done | Progress::Reused => return None,
            Progress::Waiting | Progress::Running => stage.steps.saturating_sub(stage.step),
        };
        let own = stage.ms_per_step();
        let ms = own.or_else(|| self.ms_per_step(stage.kind))?;
        Some((ms * left as f64) as u64)
    }

    /// Mean of the stages of a kind.
    fn ms_per_step(&self, kind: StageKind) -> Option<f64> {
        let of_kind = self.stages.iter().filter(|stage| stage.kind == kind);
        let times: Vec<f64> = of_kind.filter_map(StageView::ms_per_step).collect();
        (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
    }
}
