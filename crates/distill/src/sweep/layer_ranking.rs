//! Which layers need attention: greedy, by the KL from the teacher (arXiv 2512.20569; method, section 9).
//!
//! All mixers learn the output of the attention in their place first, on the teacher's inputs, so that one alignment serves
//! every choice of layers. Then the layers lose their attention one by one: each time the one without which the student stays
//! closest to the teacher. The one that keeps it longest needs it most, and sets for smaller ratios are nested in those for
//! larger ones.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use crate::data::{Batch, ExampleSet, RowLength};
use crate::loss::{Denominators, Targets, TeacherRows, loss_beside, teacher_rows};
use crate::recipe::LossPlan;
use crate::run::RankingRound;

/// KL from the teacher, nothing else.
const KL: LossPlan = LossPlan {
    ce_weight: 0.0,
    kl_weight: 1.0,
    ..LossPlan::CROSS_ENTROPY
};

/// A teacher, its aligned mixers, and sequences to compare them on.
pub(super) struct Ranker<'a, B: SsmBackend> {
    teacher: &'a HybridModel<B>,
    /// The teacher with a mixer in every layer.
    aligned: &'a HybridModel<B>,
    sample: Vec<Sample<B>>,
    device: &'a B::Device,
}

struct Sample<B: SsmBackend> {
    batch: Batch,
    targets: Targets,
    teacher: TeacherRows<B>,
}

impl<'a, B: SsmBackend> Ranker<'a, B> {
    /// Compares on `sequences` of the examples, evenly spread, `rows` at a time.
    ///
    /// # Errors
    /// When an example can no longer be read.
    pub fn new(
        teacher: &'a HybridModel<B>,
        aligned: &'a HybridModel<B>,
        examples: &ExampleSet,
        [sequences, rows]: [usize; 2],
        length: RowLength,
        device: &'a B::Device,
    ) -> anyhow::Result<Self> {
        let count = sequences.min(examples.len());
        let chosen = (0..count).map(|index| index * examples.len() / count);
        let chosen = examples.get_all(&chosen.collect::<Vec<_>>())?;
        let batches: Vec<Batch> = chosen
            .chunks(rows.max(1))
            .map(|rows| Batch::new(rows, length))
            .collect();
        let over = Denominators::of(&batches);
        let sample = |batch: Batch| {
            let targets = Targets::new(&batch, &KL, over);
            Sample {
                teacher: TeacherRows::Head(teacher_rows(teacher, &batch, &targets, device)),
                targets,
                batch,
            }
        };
        Ok(Self {
            teacher,
            aligned,
            sample: batches.into_iter().map(sample).collect(),
            device,
        })
    }

    /// The round after those in which the layers `replaced` lost their attention; `None` when none has any.
    ///
    /// # Errors
    /// If the aligned model is no conversion of the teacher, or a KL is no number.
    pub fn round(&self, replaced: &[usize]) -> anyhow::Result<Option<RankingRound>> {
        let has_attention = |layer_idx: &usize| !replaced.contains(layer_idx);
        let mut kl = Vec::new();
        for layer_idx in (0..self.teacher.n_layers()).filter(has_attention) {
            let of_layers = self.kl(&[replaced, &[layer_idx]].concat())?;
            anyhow::ensure!(
                of_layers.is_finite(),
                "the KL from the teacher is {of_layers} without the attention of layer {layer_idx}: lower `alignment.lr_peak`"
            );
            kl.push((layer_idx, super::models::recordable(of_layers)));
        }
        // Of equals the first layer goes first.
        let closest = kl.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
        let replaced = closest.map(|(layer_idx, _)| *layer_idx);
        Ok(replaced.map(|replaced| RankingRound { replaced, kl }))
    }

    /// KL from the teacher, nats a label, with mixers in place of attention in `layers`.
    fn kl(&self, layers: &[usize]) -> anyhow::Result<f64> {
        let student = self.teacher.with_blocks_of(self.aligned, layers)?;
        // Nothing of it is on a tape.
        let student = HybridModel::<Autodiff<B>>::from_inner(student).freeze(|_| false);
        let of_sample = |sample: &Sample<B>| {
            let Sample {
                batch,
                targets,
                teacher,
            } = sample;
            loss_beside(&student, Some(teacher), batch, targets, &KL, self.device).kl
        };
        let sum = self.sample.iter().map(of_sample).reduce(Tensor::add);
        let sum = sum.map_or(0.0, |sum| sum.into_data().iter::<f64>().sum());
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use model::{InitFrom, LayerPlan};

    use super::*;
    use crate::testing::{examples, llama, ssm};

    /// Four layers; the third one's mixer is a copy that adds nothing, the others' are random.
    fn models() -> (HybridModel<Flex>, HybridModel<Flex>) {
        let llama = model::LlamaConfig {
            n_layers: 4,
            ..llama()
        };
        let config = model::HybridConfig::teacher(llama);
        let teacher = HybridModel::<Flex>::init_seeded(&config, 5, &Default::default());
        let none = LayerPlan::uniform(4, 0.0).unwrap();
        let convert = |init| teacher.convert(&ssm(), &none, init, 3).unwrap();
        let (random, zero) = (
            convert(InitFrom::RandomMixer),
            convert(InitFrom::ZeroOutput),
        );
        (teacher.clone(), random.with_blocks_of(&zero, &[2]).unwrap())
    }

    #[test]
    fn layers_go_in_the_order_of_their_kl_and_none_returns() {
        let (teacher, aligned) = models();
        let device = Default::default();
        let data = examples(6);
        let ranker = Ranker::new(
            &teacher,
            &aligned,
            &data.clone().into(),
            [4, 3],
            RowLength::UpTo(16),
            &device,
        )
        .unwrap();
        let mut replaced = Vec::new();
        let mut last = 0.0;
        for left in (1..=4).rev() {
            let round = ranker.round(&replaced).unwrap().unwrap();
            assert_eq!(round.kl.len(), left);
            assert!(round.kl.iter().all(|(layer, _)| !replaced.contains(layer)));
            let of = |layer| round.kl.iter().find(|(idx, _)| *idx == layer).unwrap().1;
            let least = round.kl.iter().map(|(_, kl)| *kl).fold(f64::MAX, f64::min);
            assert_eq!(of(round.replaced), least);
            assert!(least > 0.0 && least.is_finite());
            replaced.push(round.replaced);
            last = least;
        }
        replaced.sort_unstable();
        assert_eq!(replaced, [0, 1, 2, 3]);
        assert_eq!(ranker.round(&replaced).unwrap(), None);
        // All of them replaced is the aligned model itself, whatever the order.
        let whole = ranker.kl(&[3, 1, 0, 2]).unwrap();
        assert!((whole / last - 1.0).abs() < 1e-9, "{whole} {last}");
        assert!(ranker.kl(&[]).unwrap().abs() < 1e-6, "the teacher itself");
    }

    #[test]
    fn kl_is_that_of_whole_logits() {
        use burn::tensor::activation::log_softmax;
        let (teacher, aligned) = models();
        let device = Default::default();
        let data = examples(2);
        let ranker = Ranker::new(
            &teacher,
            &aligned,
            &data.clone().into(),
            [2, 1],
            RowLength::UpTo(16),
            &device,
        )
        .unwrap();
        let student = teacher.with_blocks_of(&aligned, &[0, 3]).unwrap();
        let mut sum = 0.0;
        for example in &data {
            let tokens = Batch::new([example], RowLength::UpTo(16)).tokens::<Flex>(&device);
            let log_probs = |model: &HybridModel<Flex>| -> Vec<f64> {
                let logits = log_softmax(model.forward(tokens.clone()), 2);
                logits.into_data().iter::<f64>().collect()
            };
            let (p, q) = (log_probs(&teacher), log_probs(&student));
            // Six labels, from the seventh token on; a token is scored where the one before it stands.
            for index in 5 * 32..11 * 32 {
                sum += p[index].exp() * (p[index] - q[index]);
            }
        }
        let found = ranker.kl(&[0, 3]).unwrap();
        let expected = sum / 12.0;
        assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
    }
}
