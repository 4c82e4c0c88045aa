//! Rotary positions in the half-split layout of Hugging Face checkpoints (method 2.1, step 3).

use std::f64::consts::PI;

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::config::LlamaConfig;

/// Angles per token of the `head_dim / 2` pairs, with the Llama-3 scaling applied.
pub(crate) fn frequencies(config: &LlamaConfig) -> Vec<f64> {
    let half = config.head_dim / 2;
    let mut frequencies = Vec::with_capacity(half);
    for pair in 0..half {
        let exponent = pair as f64 / half as f64;
        let frequency = config.rope_theta.powf(-exponent);
        let Some(scaling) = config.rope_scaling else {
            frequencies.push(frequency);
            continue;
        };
        let turns = scaling.original_max_position_embeddings as f64 * frequency / (2.0 * PI);
        // 1 keeps a frequency (many turns within the old context), 0 divides it by the factor.
        let keep = (turns - scaling.low_freq_factor)
            / (scaling.high_freq_factor - scaling.low_freq_factor);
        let keep = keep.clamp(0.0, 1.0);
        frequencies.push(frequency * (keep + (1.0 - keep) / scaling.factor));
    }
    frequencies
}

/// Cosine and signed sine of consecutive positions, for the rotation `x * cos + swap(x) * sin`
/// where `swap` exchanges the halves of a head and the first half of `sin` is negated.
#[derive(Clone, Debug)]
pub(crate) struct Rotary<B: Backend> {
    cos: Tensor<B, 4>, // [1, positions, 1, head_dim]
    sin: Tensor<B, 4>, // [1, positions, 1, head_dim]
}

impl<B: Backend> Rotary<B> {
    /// Angles of positions `start..start + count`, computed in f64.
    pub(crate) fn new(frequencies: &[f64], start: usize, count: usize, device: &B::Device) -> Self {
        let head_dim = 2 * frequencies.len();
        let mut cos = Vec::with_capacity(count * head_dim);
        let mut sin = Vec::with_capacity(count * head_dim);
        for position in start..start + count {
            for sign in [-1.0, 1.0] {
                for frequency in frequencies {
                    let (s, c) = (position as f64 * frequency).sin_cos();
                    cos.push(c as f32);
                    sin.push((sign * s) as f32);
                }
            }
        }
        let shape = [1, count, 1, head_dim];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }

    pub(crate) fn positions(&self) -> usize {
        self.cos.dims()[1]
    }

    /// The part for positions `start..start + count`.
    pub(crate) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(1, start, count),
            sin: self.sin.clone().narrow(1, start, count),
        }
    }

    /// Rotates `x`, `[batch, seq, heads, head_dim]`, by one position a token.
    pub(crate) fn apply(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let swapped = Tensor::cat(vec![second, first], 3);
        x * self.cos.clone() + swapped * self.sin.clone()
    }
}
