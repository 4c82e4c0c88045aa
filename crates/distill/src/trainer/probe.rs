//! A closer look at a step: where its time goes, and the gradient norm of each layer.
use std::cell::{Cell, RefCell};
use std::time::Instant;

use burn::tensor::backend::Backend;

use crate::run::StepParts;

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Examples dealt and put into batches.
    Data,
    /// The teacher's forward pass.
    Teacher,
    /// The student's forward pass and the loss.
    Forward,
    /// The backward pass.
    Backward,
    /// Clipping and the update.
    Optimizer,
}

/// What is found out about a step while it is taken. One that is off costs nothing: the device is not waited for.
#[derive(Debug)]
pub struct Probe {
    mark: Option<Cell<Instant>>,
    parts: Cell<StepParts>,
    layer_grad_norms: RefCell<Vec<f64>>,
}

impl Probe {
    /// A probe that measures from now on, or does nothing.
    pub fn new(is_on: bool) -> Self {
        Self {
            mark: is_on.then(|| Cell::new(Instant::now())),
            parts: Cell::default(),
            layer_grad_norms: RefCell::default(),
        }
    }

    /// A probe that does nothing.
    pub fn off() -> Self {
        Self::new(false)
    }

    /// Whether it measures.
    pub fn is_on(&self) -> bool {
        self.mark.is_some()
    }

    /// Waits for the device, and counts the time since the last call as `part`'s.
    pub fn lap<B: Backend>(&self, part: Part, device: &B::Device) {
        let Some(mark) = &self.mark else {
            return;
        };
        // A device that does not answer is noticed by what reads from it.
        let _ = B::sync(device);
        let now = Instant::now();
        let ms = (now - mark.replace(now)).as_secs_f64() * 1e3;
        let mut parts = self.parts.get();
        *match part {
            Part::Data => &mut parts.data_ms,
            Part::Teacher => &mut parts.teacher_ms,
            Part::Forward => &mut parts.forward_ms,
            Part::Backward => &mut parts.backward_ms,
            Part::Optimizer => &mut parts.optimizer_ms,
        } += ms;
        self.parts.set(parts);
    }

    /// Keeps the gradient norms of the layers.
    pub(super) fn set_layer_grad_norms(&self, norms: Vec<f64>) {
        self.layer_grad_norms.replace(norms);
    }

    /// What was found.
    pub fn into_findings(self) -> (StepParts, Vec<f64>) {
        (self.parts.get(), self.layer_grad_norms.into_inner())
    }
}
