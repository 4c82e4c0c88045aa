//! Choosing the next token from logits, on the device where that is possible.

use burn::tensor::{Distribution, Int, Tensor, TensorData, backend::Backend};
use kernels::{SsmBackend, argmax};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How replies are drawn and when they stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Most tokens in a reply
    pub max_tokens: usize,
    /// Logits are divided by it; 0 takes the most likely token
    pub temperature: f32,
    /// Draw from this many most likely tokens only
    pub top_k: Option<usize>,
    /// Draw from the fewest most likely tokens whose probabilities reach this sum
    pub top_p: Option<f32>,
    /// Equal seeds draw equal replies on the same backend
    pub seed: u64,
    /// A reply ends before one of these
    pub stop_tokens: Vec<u32>,
}

impl Sampling {
    /// The most likely token each time, at most `max_tokens` of them.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            seed: 42,
            stop_tokens: Vec::new(),
        }
    }

    /// Draws at `temperature`, at most `max_tokens`.
    pub fn with_temperature(max_tokens: usize, temperature: f32, seed: u64) -> Self {
        Self {
            temperature,
            seed,
            ..Self::greedy(max_tokens)
        }
    }

    /// Ends a reply before one of `tokens`.
    pub fn stop_at(mut self, tokens: impl Into<Vec<u32>>) -> Self {
        self.stop_tokens = tokens.into();
        self
    }
}

/// Draws one token a row, by the rule of a [`Sampling`].
pub struct Sampler(Rule);

enum Rule {
    Greedy,
    /// Gumbel-max: the argmax of `logits / temperature + noise` is a draw from the softmax
    Gumbel {
        temperature: f32,
    },
    Host {
        filter: Filter,
        rng: Box<ChaCha8Rng>,
    },
}

/// Temperature, then top-k, then top-p.
pub(super) struct Filter {
    pub(super) temperature: f32,
    pub(super) top_k: Option<usize>,
    pub(super) top_p: Option<f32>,
}

impl Sampler {
    pub(super) fn new<B: Backend>(sampling: &Sampling, device: &B::Device) -> Self {
        let temperature = sampling.temperature;
        if temperature <= 0.0 {
            return Self(Rule::Greedy);
        }
        if sampling.top_k.is_none() && sampling.top_p.is_none() {
            B::seed(device, sampling.seed);
            return Self(Rule::Gumbel { temperature });
        }
        Self(Rule::Host {
            filter: Filter::new(sampling),
            rng: Box::new(ChaCha8Rng::seed_from_u64(sampling.seed)),
        })
    }

    pub(super) fn is_greedy(&self) -> bool {
        matches!(self.0, Rule::Greedy)
    }

    /// One token a row of `logits`, `[batch, vocab]`, as `[batch, 1]`; they stay on the device unless top-k or top-p
    /// asks for the logits.
    pub fn draw<B: SsmBackend>(&mut self, logits: Tensor<B, 2>) -> Tensor<B, 2, Int> {
        match &mut self.0 {
            Rule::Greedy => most_likely(logits),
            Rule::Gumbel { temperature } => {
                let gumbel = uniform(logits.dims(), &logits.device());
                let gumbel = gumbel.log().neg().log().neg();
                most_likely(logits.div_scalar(*temperature) + gumbel)
            }
            Rule::Host { filter, rng } => {
                let ([_, vocab], device) = (logits.dims(), logits.device());
                let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
                let rows = values.chunks_exact(vocab);
                let drawn: Vec<Vec<u32>> = rows
                    .map(|row| vec![filter.draw(row, rng.random())])
                    .collect();
                token_tensor(&drawn, &device)
            }
        }
    }

    /// The temperature, where it is all that [`draw`](Self::draw) draws by: not with top-k or top-p.
    pub(super) fn temperature_alone(&self) -> Option<f32> {
        match &self.0 {
            Rule::Gumbel { temperature } => Some(*temperature),
            Rule::Greedy | Rule::Host { .. } => None,
        }
    }

    /// The distribution that [`draw`](Self::draw) draws from, of one row of logits on the host.
    pub(super) fn on_host(&self, logits: &[f32]) -> Vec<f32> {
        match &self.0 {
            Rule::Host { filter, .. } => filter.probabilities(logits),
            Rule::Greedy | Rule::Gumbel { .. } => unreachable!("their logits stay on the device"),
        }
    }
}

/// Draws from `(0, 1)`, away from both ends by what keeps a logarithm of a logarithm finite in f32.
fn uniform<B: Backend>(dims: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    let range = Distribution::Uniform(1e-9, 1.0 - 1e-7);
    Tensor::random(dims, range, device).clamp(1e-9, 1.0 - 1e-7)
}

/// The most likely token of each row, `[batch, 1]`.
pub(super) fn most_likely<B: SsmBackend>(logits: Tensor<B, 2>) -> Tensor<B, 2, Int> {
    argmax(logits).expect("there are rows and a vocabulary")
}

impl Filter {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
        }
    }

    /// The token at which the sum of probabilities, the most likely first, passes `uniform` of the whole.
    pub(super) fn draw(&self, logits: &[f32], uniform: f64) -> u32 {
        let weights = self.weights(logits);
        let mut left = uniform * weights.iter().map(|(_, weight)| weight).sum::<f64>();
        for (id, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        weights.last().map_or(0, |(id, _)| *id)
    }

    /// The distribution that [`draw`](Self::draw) draws from, over the whole vocabulary.
    pub(super) fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        let weights = self.weights(logits);
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut probabilities = vec![0.0; logits.len()];
        for (id, weight) in weights {
            probabilities[id as usize] = (weight / sum) as f32;
        }
        probabilities
    }

    /// The tokens that can be drawn with the weights they are drawn by, the most likely first if there are fewer of them.
    fn weights(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let top = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let temperature = f64::from(self.temperature);
        let weight = |id: &u32| ((f64::from(logits[*id as usize]) - top) / temperature).exp();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        if let Some(top_k) = self.top_k {
            let kept = top_k.clamp(1, order.len());
            most_likely_first(&mut order, logits, kept);
            order.truncate(kept);
        }
        if let Some(top_p) = self.top_p {
            let wanted = f64::from(top_p) * order.iter().map(weight).sum::<f64>();
            // Few tokens carry most of the sum: sort only as many as are needed to reach it.
            let mut sorted = 64;
            let kept = loop {
                most_likely_first(&mut order, logits, sorted);
                let mut sum = 0.0;
                let reached = order.iter().take(sorted).position(|id| {
                    sum += weight(id);
                    sum >= wanted
                });
                match reached {
                    Some(at) => break at + 1,
                    None if sorted >= order.len() => break order.len(),
                    None => sorted *= 8,
                }
            };
            order.truncate(kept);
        }
        order.iter().map(|id| (*id, weight(id))).collect()
    }
}

/// Puts the `count` most likely tokens first, in order; ties keep the lower id first.
fn most_likely_first(order: &mut [u32], logits: &[f32], count: usize) {
    let compare = |a: &u32, b: &u32| {
        let (a_logit, b_logit) = (logits[*a as usize], logits[*b as usize]);
        b_logit.total_cmp(&a_logit).then(a.cmp(b))
    };
    let count = count.min(order.len());
    if count < order.len() {
        order.select_nth_unstable_by(count, compare);
    }
    order[..count].sort_unstable_by(compare);
}

/// Reads indices back to the host.
pub(super) fn read_ids<B: Backend>(ids: Tensor<B, 2, Int>) -> Vec<u32> {
    ids.into_data().iter::<i64>().map(|id| id as u32).collect()
}

/// Rows of equal length as a `[batch, seq]` tensor.
pub(super) fn token_tensor<B: Backend>(rows: &[Vec<u32>], device: &B::Device) -> Tensor<B, 2, Int> {
    let seq = rows.first().map_or(0, Vec::len);
    let ids: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), seq]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 2.0, -1.0];

    fn filter(top_k: Option<usize>, top_p: Option<f32>) -> Filter {
        Filter {
            temperature: 1.0,
            top_k,
            top_p,
        }
    }

    #[test]
    fn top_k_keeps_the_k_most_likely() {
        for at in 0..100 {
            let id = filter(Some(2), None).draw(&LOGITS, f64::from(at) / 100.0);
            assert!(id == 1 || id == 3, "{id}");
        }
    }

    #[test]
    fn top_p_keeps_the_token_that_reaches_the_sum() {
        // Probabilities 0.64, 0.23, 0.09, 0.03, 0.01: the second passes 0.7.
        assert_eq!(filter(None, Some(0.7)).draw(&LOGITS, 0.999), 3);
        assert_eq!(filter(None, Some(0.5)).draw(&LOGITS, 0.999), 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let total: f64 = LOGITS.iter().map(|z| f64::from(*z).exp()).sum();
        let n = 20_000;
        let draw = |at: u32| filter(None, None).draw(&LOGITS, (f64::from(at) + 0.5) / f64::from(n));
        let mut counts = [0u32; 5];
        (0..n).for_each(|at| counts[draw(at) as usize] += 1);
        for (count, z) in counts.iter().zip(LOGITS) {
            let expected = f64::from(z).exp() / total * f64::from(n);
            assert!(
                (f64::from(*count) - expected).abs() < 3.0,
                "{count} against {expected}"
            );
        }
    }

    #[test]
    fn probabilities_are_the_shares_of_the_draws() {
        let n = 20_000;
        for filter in [
            filter(Some(3), None),
            filter(None, Some(0.9)),
            filter(Some(4), Some(0.8)),
        ] {
            let probabilities = filter.probabilities(&LOGITS);
            for (id, probability) in probabilities.iter().enumerate() {
                let uniform = |at: u32| (f64::from(at) + 0.5) / f64::from(n);
                let drawn = (0..n).filter(|at| filter.draw(&LOGITS, uniform(*at)) == id as u32);
                let share = drawn.count() as f32 / n as f32;
                assert!(
                    (share - probability).abs() < 1e-4,
                    "{id}: {share}, {probability}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_draw_is_a_token_of_the_row(
            logits in prop::collection::vec(-50f32..50.0, 1..40),
            top_k in prop::option::of(0usize..50),
            top_p in prop::option::of(0f32..1.0),
            temperature in 0.01f32..5.0,
            uniform in 0f64..1.0,
        ) {
            let id = Filter { temperature, top_k, top_p }.draw(&logits, uniform);
            prop_assert!((id as usize) < logits.len());
        }
    }
}
