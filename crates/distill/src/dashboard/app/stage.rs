//! One stage of the tree, with its curves.
use crate::curves::{Metric, StepValues};
use crate::dashboard::Series;
use crate::recipe::{MixerKind, StageKind};
use crate::run::{MemoryUse, Sample, StepParts};

/// Share of a stage over which the loss is averaged to tell that it diverges.
const DIVERGENCE_DECAY: f64 = 0.9;
/// Steps before which nothing diverges.
const DIVERGENCE_STEPS: usize = 20;
/// How far above its best a mean loss may be.
const DIVERGENCE_FACTOR: f64 = 1.5;

/// Where a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// Being trained or measured.
    Running,
    /// Trained and on disk.
    Done,
    /// Taken from the checkpoint of an earlier process.
    Reused,
}

/// The student of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentView {
    /// What its other layers have in place of attention.
    pub mixer: MixerKind,
    /// Layers that keep attention.
    pub attn_layers: Vec<usize>,
    /// All layers.
    pub n_layers: usize,
    /// Parameters, and how many of them the stage changes.
    pub parameters: (usize, usize),
    /// Floating-point operations that a token takes.
    pub flops_per_token: f64,
}

/// A step looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileView {
    /// The step.
    pub step: usize,
    /// Where its time went.
    pub parts: StepParts,
    /// Gradient norm of each layer.
    pub layer_grad_norms: Vec<f64>,
    /// Memory in use.
    pub memory: MemoryUse,
}

/// One stage of the tree, with its curves.
#[derive(Debug, Clone, PartialEq)]
pub struct StageView {
    /// Arm of the sweep.
    pub arm: String,
    /// Share of layers that keep attention.
    pub attention_ratio: f64,
    /// Which stage.
    pub kind: StageKind,
    /// Optimiser steps planned.
    pub steps: usize,
    /// Optimiser steps done.
    pub step: usize,
    /// Where it is.
    pub progress: Progress,
    /// A curve a metric, in their order.
    curves: [Series; Metric::ALL.len()],
    /// Perplexity over the teacher's, once measured.
    pub perplexity_ratio: Option<f64>,
    /// Exact match by task.
    pub tasks: Vec<(String, f64)>,
    /// What it trains.
    pub student: Option<StudentView>,
    /// Steps looked at closely, about a hundred.
    pub profiles: Vec<ProfileView>,
    /// What teacher and student say after it.
    pub samples: Vec<Sample>,
    /// When its first and last steps were done here, ms since the epoch, and how many.
    pub timed: Option<(u64, u64, usize)>,
    /// Mean of the last losses, and the least that it was.
    mean_loss: Option<(f64, f64)>,
}

impl StageView {
    /// A stage that has not begun.
    pub fn new(arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) -> Self {
        Self {
            arm: arm.into(),
            attention_ratio,
            kind,
            steps,
            step: 0,
            progress: Progress::Waiting,
            curves: Default::default(),
            perplexity_ratio: None,
            tasks: Vec::new(),
            student: None,
            profiles: Vec::new(),
            samples: Vec::new(),
            timed: None,
            mean_loss: None,
        }
    }

    /// The curve of a metric.
    pub fn curve(&self, metric: Metric) -> &Series {
        &self.curves[metric as usize]
    }

    /// Adds a step.
    pub(super) fn push(&mut self, step: usize, values: &StepValues) {
        self.step = step;
        for metric in Metric::ALL {
            if let Some(value) = values.get(metric) {
                // Steps that are taken again replace those of the first time.
                self.curves[metric as usize].push(step, value);
            }
        }
        let now = values.time_ms;
        self.timed = Some(match self.timed {
            Some((first, _, count)) => (first, now, count + 1),
            None => (now, now, 0),
        });
        let loss = values.get(Metric::Loss).unwrap_or(f64::NAN);
        if loss.is_finite() && step > DIVERGENCE_STEPS {
            let (mean, best) = self.mean_loss.unwrap_or((loss, loss));
            let mean = DIVERGENCE_DECAY * mean + (1.0 - DIVERGENCE_DECAY) * loss;
            self.mean_loss = Some((mean, best.min(mean)));
        }
    }

    /// Takes the stage back to `step`.
    pub(super) fn rewind(&mut self, step: usize) {
        self.step = step;
        for curve in &mut self.curves {
            curve.cut(step + 1);
        }
        self.profiles.retain(|profile| profile.step <= step);
        self.mean_loss = None;
    }

    /// Whether the loss has moved far from the best that it was.
    pub fn is_diverging(&self) -> bool {
        let is_going_on = self.progress == Progress::Running;
        let far = |(mean, best): (f64, f64)| best > 0.0 && mean > DIVERGENCE_FACTOR * best;
        is_going_on && self.mean_loss.is_some_and(far)
    }

    /// Milliseconds of a step, from one to the next.
    pub fn ms_per_step(&self) -> Option<f64> {
        let (first, last, count) = self.timed?;
        (count > 0).then(|| (last - first) as f64 / count as f64)
    }
}
