//! Choosing the next token of one row of a batch whose rows are drawn by rules of their own.

use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Sampling;
use super::sampler::{Filter, most_likely, read_ids};

/// How one row draws: greedily, or with a filter and random numbers that no other row takes.
///
/// With `top_k` or `top_p` a row draws what [`Sampler`](super::Sampler) draws for it alone.
pub(super) struct RowSampler(Option<(Filter, Box<ChaCha8Rng>)>);

impl RowSampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self((sampling.temperature > 0.0).then(|| {
            let rng = ChaCha8Rng::seed_from_u64(sampling.seed);
            (Filter::new(sampling), Box::new(rng))
        }))
    }
}

/// One token for each row of `logits`, `[batch, vocab]`; only the logits of rows that are not greedy leave the device.
pub(super) fn draw_rows<'a, B: SsmBackend>(
    logits: Tensor<B, 2>,
    samplers: impl Iterator<Item = &'a mut RowSampler>,
) -> Vec<u32> {
    let ([_, vocab], device) = (logits.dims(), logits.device());
    let mut ids = read_ids(most_likely(logits.clone()));
    let random = samplers.enumerate().filter_map(|(row, sampler)| {
        let (filter, rng) = sampler.0.as_mut()?;
        Some((row, filter, rng))
    });
    let random: Vec<_> = random.collect();
    if random.is_empty() {
        return ids;
    }
    let rows: Vec<i32> = random.iter().map(|(row, ..)| *row as i32).collect();
    let rows = TensorData::new(rows, [random.len()]);
    let rows = logits.select(0, Tensor::<B, 1, Int>::from_data(rows, &device));
    let values: Vec<f32> = rows.into_data().iter::<f32>().collect();
    for ((row, filter, rng), values) in random.into_iter().zip(values.chunks_exact(vocab)) {
        ids[row] = filter.draw(values, rng.random());
    }
    ids
}
