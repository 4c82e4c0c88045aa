//! Before stage 1: each new mixer learns to do what the attention in its place did, all of them in parallel (MOHAWK,
//! arXiv 2408.10189; RADLADS, arXiv 2505.03005; method, section 9).
//!
//! A layer is run on the *teacher's* input to it, so that no layer sees the errors of those before it, and no gradient
//! leaves a layer.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use kernels::SsmBackend;
use model::{BlockOutput, HybridConfig, HybridModel, MixerKind};

use super::steps::{self, Examples, StepMetrics};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, Example, ExampleSet, RowLength};
use crate::loss::head::blocks;
use crate::loss::total;
use crate::recipe::AlignmentTarget;
use crate::trainer::{MicroStep, Probe, StepReport};

/// Sequences on which teacher and student are compared layer by layer.
struct Layers<'a, B: SsmBackend> {
    examples: &'a ExampleSet,
    teacher: &'a HybridModel<B>,
    /// Those that are no attention in the student.
    layers: Vec<usize>,
    output: BlockOutput,
    length: RowLength,
    device: &'a B::Device,
}

/// A micro-batch with 1 at every token and 0 at padding, `[batch * seq]`.
struct Sequences<B: Backend> {
    rows: Batch,
    is_token: Vec<f32>,
    /// Of the micro-batch that this is a part of, if it is one.
    whole: Option<Whole<B>>,
}

/// What the errors of a micro-batch are measured by, for its parts.
#[derive(Clone)]
struct Whole<B: Backend> {
    tokens: usize,
    /// Square of the teacher's output, `[new layers]`.
    sizes: Tensor<B, 1>,
}

impl<B: Backend> Sequences<B> {
    fn new(examples: &[&Example], length: RowLength) -> Self {
        let rows = Batch::new(examples.iter().copied(), length);
        let mut is_token = vec![0.0; rows.rows() * rows.seq()];
        for (row, example) in is_token.chunks_mut(rows.seq().max(1)).zip(examples) {
            row[..example.ids.len()].fill(1.0);
        }
        Self {
            rows,
            is_token,
            whole: None,
        }
    }

    fn mask(&self, device: &B::Device) -> Tensor<B, 3> {
        let shape = [self.rows.rows(), self.rows.seq(), 1];
        Tensor::from_data(TensorData::new(self.is_token.clone(), shape), device)
    }
}

impl<B: SsmBackend> Examples<B> for Layers<'_, B> {
    type Batch = Sequences<B>;

    fn lengths(&self) -> Vec<usize> {
        self.examples.lengths()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> anyhow::Result<Vec<Sequences<B>>> {
        let batch = |indices: &Vec<usize>| {
            let examples = self.examples.get_all(indices)?;
            let examples: Vec<&Example> = examples.iter().collect();
            Ok(Sequences::new(&examples, self.length))
        };
        micro_batches.iter().map(batch).collect()
    }

    fn split(&self, batch: Sequences<B>, size: usize) -> Vec<Sequences<B>> {
        let seq = batch.rows.seq();
        let part = |rows: Range<usize>| Sequences {
            rows: batch.rows.part(rows.clone()),
            is_token: batch.is_token[rows.start * seq..rows.end * seq].to_vec(),
            whole: None,
        };
        let mut parts: Vec<_> = blocks(batch.rows.rows(), size).map(part).collect();
        let sizes = |part: &Sequences<B>| {
            let targets = targets(self.teacher, part, &self.layers, self.output, self.device);
            let sizes = targets.map(|(_, _, target)| squared(target)).collect();
            Tensor::cat(sizes, 0)
        };
        if self.layers.is_empty() {
            return parts;
        }
        let sizes = parts.iter().map(sizes).reduce(Tensor::add);
        let whole = sizes.map(|sizes| Whole {
            tokens: batch.rows.real_tokens(),
            sizes,
        });
        for part in &mut parts {
            part.whole = whole.clone();
        }
        parts
    }

    fn tokens(&self, batch: &Sequences<B>) -> usize {
        batch.rows.real_tokens()
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[Sequences<B>],
        index: usize,
        _: &Probe,
    ) -> MicroStep<B> {
        let all: usize = step.iter().map(|batch| batch.rows.real_tokens()).sum();
        let batch = &step[index];
        let own = batch.rows.real_tokens();
        let tokens = batch.whole.as_ref().map_or(own, |whole| whole.tokens);
        let share = tokens as f64 / all.max(1) as f64;
        let (layers, output) = (&self.layers, self.output);
        let errors = layer_errors(student, self.teacher, batch, layers, output, self.device);
        let loss = match errors.len() {
            0 => Tensor::zeros([1], self.device),
            layers => total(Tensor::cat(errors, 0)).mul_scalar(share / layers as f64),
        };
        MicroStep {
            loss,
            metrics: Tensor::zeros([0], self.device),
            blocks: None,
        }
    }

    fn metrics(&self, _: &StepReport) -> StepMetrics {
        StepMetrics::default()
    }
}

/// Layers of a student that are no attention, ascending.
fn new_layers(student: &HybridConfig) -> Vec<usize> {
    let is_new = |layer_idx: &usize| student.mixer_kind(*layer_idx) != MixerKind::Attention;
    (0..student.llama.n_layers).filter(is_new).collect()
}

/// Layers, the teacher's input to each and its output, zeros at padding; both `[batch, seq, d_model]`.
fn targets<B: SsmBackend>(
    teacher: &HybridModel<B>,
    batch: &Sequences<B>,
    layers: &[usize],
    output: BlockOutput,
    device: &B::Device,
) -> impl Iterator<Item = (usize, Tensor<B, 3>, Tensor<B, 3>)> {
    let inputs = teacher.block_inputs(batch.rows.tokens::<B>(device));
    let mask = batch.mask(device);
    layers.iter().map(move |layer_idx| {
        let input = inputs[*layer_idx].clone();
        let target = teacher.block_output(*layer_idx, input.clone(), output) * mask.clone();
        (*layer_idx, input, target)
    })
}

/// Sum of the squares, `[1]`, never zero.
fn squared<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 1> {
    total(x.clone() * x).add_scalar(f32::MIN_POSITIVE)
}

/// Squared L2 distance of each new layer's output to the teacher's, over the square of the teacher's: 1 for a layer that
/// gives zeros. Over the tokens of `batch`, or its share of that of the micro-batch that it is a part of; `[1]` each.
fn layer_errors<B: SsmBackend>(
    student: &HybridModel<Autodiff<B>>,
    teacher: &HybridModel<B>,
    batch: &Sequences<B>,
    layers: &[usize],
    output: BlockOutput,
    device: &B::Device,
) -> Vec<Tensor<Autodiff<B>, 1>> {
    let mask = batch.mask(device);
    targets(teacher, batch, layers, output, device)
        .enumerate()
        .map(|(index, (layer_idx, input, target))| {
            let size = match &batch.whole {
                Some(whole) => whole.sizes.clone().narrow(0, index, 1),
                None => squared(target.clone()),
            };
            let found = student.block_output(layer_idx, Tensor::from_inner(input), output)
                * Tensor::from_inner(mask.clone());
            let error = found - Tensor::from_inner(target);
            total(error.clone() * error) / Tensor::from_inner(size)
        })
        .collect()
}

/// Runs the stage.
pub(super) fn run<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    let examples = Layers {
        examples: &context.data.distillation,
        teacher: context.teacher,
        layers: new_layers(student.config()),
        output: match context.stage.alignment {
            AlignmentTarget::MixerOutput => BlockOutput::Mixer,
            AlignmentTarget::HiddenState => BlockOutput::HiddenState,
        },
        length: context.plan.data.row_length(),
        device: context.device,
    };
    steps::run(context, student, &examples)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::module::AutodiffModule as _;

    use super::*;
    use crate::loss::testing::numbers;
    use crate::testing::{examples, student, teacher};

    type T = Autodiff<Flex>;

    fn errors(student: &HybridModel<T>, length: RowLength, output: BlockOutput) -> Vec<f64> {
        let examples = examples(3);
        let examples: Vec<_> = examples.iter().collect();
        let batch = Sequences::new(&examples, length);
        layer_errors(
            student,
            &teacher(),
            &batch,
            &new_layers(student.config()),
            output,
            &Default::default(),
        )
        .into_iter()
        .map(|error| numbers(error)[0])
        .collect()
    }

    #[test]
    fn only_new_layers_are_compared_and_padding_is_not() {
        let student = HybridModel::<T>::from_inner(student());
        for output in [BlockOutput::Mixer, BlockOutput::HiddenState] {
            let tight = errors(&student, RowLength::UpTo(12), output);
            // One layer of two is new.
            assert_eq!(tight.len(), 1);
            assert!(tight[0] > 1e-4, "{tight:?}");
            let padded = errors(&student, RowLength::Exactly(40), output);
            assert!(
                (tight[0] - padded[0]).abs() < 1e-5 * tight[0],
                "{tight:?} {padded:?}"
            );
        }
    }

    #[test]
    fn gradients_stay_in_the_new_mixers_of_the_block() {
        let student = HybridModel::<T>::from_inner(student()).freeze(|_| true);
        let examples = examples(2);
        let examples: Vec<_> = examples.iter().collect();
        let batch = Sequences::new(&examples, RowLength::UpTo(16));
        let errors = layer_errors(
            &student,
            &teacher(),
            &batch,
            &new_layers(student.config()),
            BlockOutput::Mixer,
            &Default::default(),
        );
        let gradients = Tensor::cat(errors, 0).sum().backward();
        let touched: Vec<String> = student
            .named_gradients(&gradients)
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| !key.starts_with("model.layers.0.mamba."))
            .collect();
        // The norm before the mixer is in the block too; a stage freezes it.
        assert_eq!(touched, ["model.layers.0.input_layernorm.weight"]);
    }
}
