//! The training loop's inner part: one optimiser step on [`Autodiff`] with accumulation, clipping and AdamW.
//!
//! The learning rate follows [`Schedule`]; the updates are those of burn-optim's AdamW with epsilon 1e-8.

mod adamw;
mod gradients;
mod leaves;
mod probe;
mod schedule;
mod state;
mod trouble;

use burn::backend::Autodiff;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::{CheckpointedBlocks, HybridModel};

pub use adamw::FusedAdamW;
pub use gradients::{DecayGroups, layer_norms, norm_squared, scaled};
pub use probe::{Part, Probe};
pub use schedule::Schedule;
pub use trouble::NotFinite;

/// Settings of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainerConfig {
    /// Learning rate by step.
    pub schedule: Schedule,
    /// Moments of AdamW.
    pub betas: [f64; 2],
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; larger gradients are scaled down to it.
    pub clip_norm: f64,
}

/// What a micro-batch contributes to a step.
pub struct MicroStep<B: SsmBackend> {
    /// Its share of the loss, `[1]`, on the tape: shares are added up, not averaged again.
    pub loss: Tensor<Autodiff<B>, 1>,
    /// Numbers to report, `[metrics]`, added up over the micro-batches.
    pub metrics: Tensor<B, 1>,
    /// The student's blocks, where they are not on the tape.
    pub blocks: Option<CheckpointedBlocks<B>>,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The loss.
    pub loss: f64,
    /// Metrics in the order of [`MicroStep::metrics`].
    pub metrics: Vec<f64>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// What was first not finite where the loss or norm was not and the weights were left alone.
    pub not_finite: Option<NotFinite>,
}

impl StepReport {
    /// Whether the weights were changed.
    pub fn is_applied(&self) -> bool {
        self.not_finite.is_none()
    }
}

/// Optimiser state of one stage.
pub struct Trainer<B: SsmBackend> {
    config: TrainerConfig,
    groups: DecayGroups,
    decayed: Adaptor<B>,
    undecayed: Adaptor<B>,
    device: B::Device,
    step: usize,
}

type Model<B> = HybridModel<Autodiff<B>>;
type Adaptor<B> = OptimizerAdaptor<FusedAdamW, Model<B>, Autodiff<B>>;

impl<B: SsmBackend> Trainer<B> {
    /// A fresh optimiser for the tensors of `model` that require gradients.
    pub fn new(config: TrainerConfig, model: &Model<B>, device: &B::Device) -> Self {
        let adamw = |weight_decay| FusedAdamW {
            betas: config.betas.map(|beta| beta as f32),
            weight_decay,
        };
        Self {
            config,
            groups: DecayGroups::of(model),
            decayed: adamw(config.weight_decay as f32).into(),
            undecayed: adamw(0.0).into(),
            device: device.clone(),
            step: 0,
        }
    }

    /// Whether any tensor of the model is trained.
    pub fn has_trainable(&self) -> bool {
        !(self.groups.decayed.is_empty() && self.groups.undecayed.is_empty())
    }

    /// Replaces the schedule; the step count goes on.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.config.schedule = schedule;
    }

    /// Learning rate of the next step.
    pub fn lr(&self) -> f64 {
        self.config.schedule.lr(self.step)
    }

    /// Steps taken, skipped ones included.
    pub fn steps_taken(&self) -> usize {
        self.step
    }

    /// One optimiser step over `micro_batches` micro-batches, with one read from the device.
    ///
    /// A loss or gradient norm that is not finite leaves the model unchanged, and `forward` runs once more, for the layer in which
    /// that began.
    pub fn step(
        &mut self,
        model: Model<B>,
        micro_batches: usize,
        forward: impl FnMut(&Model<B>, usize) -> MicroStep<B>,
    ) -> (Model<B>, StepReport) {
        self.step_probed(model, micro_batches, &Probe::off(), forward)
    }

    /// As [`Trainer::step`], with the same numbers, looked at by `probe`: `forward` says which part of its time is the
    /// teacher's, what is left of it is the student's.
    pub fn step_probed(
        &mut self,
        model: Model<B>,
        micro_batches: usize,
        probe: &Probe,
        mut forward: impl FnMut(&Model<B>, usize) -> MicroStep<B>,
    ) -> (Model<B>, StepReport) {
        let (gradients, numbers) = self.backward(&model, micro_batches, probe, &mut forward);
        let numbers: Vec<f64> = numbers.into_data().iter::<f64>().collect();
        let (norm_squared, loss) = (numbers[0], numbers[1]);
        let lr = self.config.schedule.lr(self.step);
        self.step += 1;
        let grad_norm = norm_squared.sqrt();
        let is_finite = loss.is_finite() && grad_norm.is_finite();
        let not_finite =
            (!is_finite).then(|| NotFinite::find(&model, &gradients, loss, micro_batches, forward));
        let report = StepReport {
            loss,
            metrics: numbers[2..].to_vec(),
            grad_norm,
            lr,
            not_finite,
        };
        if !is_finite {
            return (model, report);
        }
        let gradients = if grad_norm > self.config.clip_norm {
            let scale = (self.config.clip_norm / (grad_norm + 1e-6)) as f32;
            scaled(&model, gradients, Tensor::full([1], scale, &self.device))
        } else {
            gradients
        };
        let model = self.apply(model, gradients, lr);
        probe.lap::<B>(Part::Optimizer, &self.device);
        (model, report)
    }

    /// As [`Trainer::step`] without any read from the device: clipping happens there, and the numbers
    /// `[norm^2, loss, metrics...]` come back unread. Nothing guards against a loss that is not finite.
    pub fn step_unread(
        &mut self,
        model: Model<B>,
        micro_batches: usize,
        forward: impl FnMut(&Model<B>, usize) -> MicroStep<B>,
    ) -> (Model<B>, Tensor<B, 1>) {
        let (gradients, numbers) = self.backward(&model, micro_batches, &Probe::off(), forward);
        let norm = numbers.clone().narrow(0, 0, 1).sqrt();
        let scale = (norm + 1e-6)
            .recip()
            .mul_scalar(self.config.clip_norm)
            .clamp_max(1.0);
        let gradients = scaled(&model, gradients, scale);
        let lr = self.config.schedule.lr(self.step);
        self.step += 1;
        (self.apply(model, gradients, lr), numbers)
    }

    /// Gradients summed over the micro-batches, and `[norm^2, loss, metrics...]`.
    fn backward(
        &self,
        model: &Model<B>,
        micro_batches: usize,
        probe: &Probe,
        mut forward: impl FnMut(&Model<B>, usize) -> MicroStep<B>,
    ) -> (GradientsParams, Tensor<B, 1>) {
        let mut accumulator = GradientsAccumulator::new();
        let mut sums: Option<Tensor<B, 1>> = None;
        for index in 0..micro_batches {
            let model = leaves::renewed(model);
            let MicroStep {
                loss,
                metrics,
                blocks,
            } = forward(&model, index);
            let numbers = Tensor::cat(vec![loss.clone().inner(), metrics], 0);
            sums = Some(match sums {
                Some(sums) => sums + numbers,
                None => numbers,
            });
            probe.lap::<B>(Part::Forward, &self.device);
            accumulator.accumulate(&model, of_micro_step(&model, loss, blocks));
            probe.lap::<B>(Part::Backward, &self.device);
        }
        let gradients = accumulator.grads();
        if probe.is_on() {
            probe.set_layer_grad_norms(layer_norms(model, &gradients, &self.device));
        }
        let norm = norm_squared(model, &gradients, &self.device);
        let numbers = match sums {
            Some(sums) => Tensor::cat(vec![norm, sums], 0),
            None => Tensor::cat(vec![norm, Tensor::zeros([1], &self.device)], 0),
        };
        (gradients, numbers)
    }

    fn apply(&mut self, model: Model<B>, mut gradients: GradientsParams, lr: f64) -> Model<B> {
        let undecayed = take(&mut gradients, &model, &self.groups.undecayed);
        let decayed = take(&mut gradients, &model, &self.groups.decayed);
        let model = self.undecayed.step(lr, model, undecayed);
        self.decayed.step(lr, model, decayed)
    }
}

/// Gradients of a micro-batch's share of the loss.
fn of_micro_step<B: SsmBackend>(
    model: &Model<B>,
    loss: Tensor<Autodiff<B>, 1>,
    blocks: Option<CheckpointedBlocks<B>>,
) -> GradientsParams {
    let gradients = loss.backward();
    let Some(blocks) = blocks else {
        return GradientsParams::from_grads(gradients, model);
    };
    // Summed for this micro-batch first, as a tape does: sums of rounded numbers depend on their order.
    let mut sum = GradientsAccumulator::new();
    blocks.backward(model, gradients, |gradients| {
        sum.accumulate(model, GradientsParams::from_grads(gradients, model));
    });
    sum.grads()
}

/// Moves the gradients of `params` out of `gradients`.
fn take<B: SsmBackend>(
    gradients: &mut GradientsParams,
    model: &Model<B>,
    params: &[burn::module::ParamId],
) -> GradientsParams {
    struct Take<'a> {
        from: &'a mut GradientsParams,
        into: GradientsParams,
        params: std::collections::HashSet<burn::module::ParamId>,
    }
    impl<B: SsmBackend> burn::module::ModuleVisitor<Autodiff<B>> for Take<'_> {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<Tensor<Autodiff<B>, D>>,
        ) {
            if self.params.contains(&param.id)
                && let Some(gradient) = self.from.remove::<B, D>(param.id)
            {
                self.into.register(param.id, gradient);
            }
        }
    }
    let mut visitor = Take {
        from: gradients,
        into: GradientsParams::new(),
        params: params.iter().copied().collect(),
    };
    burn::module::Module::visit(model, &mut visitor);
    visitor.into
}

#[cfg(test)]
mod tests;
