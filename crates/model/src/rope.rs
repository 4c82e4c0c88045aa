//! Rotary positions in the half-split layout of Hugging Face checkpoints (method 2.1, step 3).

use std::f64::consts::PI;

use burn::tensor::{FloatDType, Int, Tensor, TensorData, backend::Backend};

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

/// Cosine and signed sine of positions, for the rotation `x * cos + swap(x) * sin`
/// where `swap` exchanges the halves of a head and the first half of `sin` is negated. Rows of a batch share them, or each
/// has its own.
#[derive(Clone, Debug)]
pub(crate) struct Rotary<B: Backend> {
    cos: Tensor<B, 3>, // [1 or batch, positions, head_dim]
    sin: Tensor<B, 3>, // [1 or batch, positions, head_dim]
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
        let shape = [1, count, head_dim];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }

    /// With angles in the type of what is turned.
    pub(crate) fn cast(self, dtype: FloatDType) -> Self {
        Self {
            cos: self.cos.cast(dtype),
            sin: self.sin.cast(dtype),
        }
    }

    pub(crate) fn device(&self) -> B::Device {
        self.cos.device()
    }

    pub(crate) fn positions(&self) -> usize {
        self.cos.dims()[1]
    }

    /// Of the tokens at `positions`, `[batch, seq]`, from a table that starts at position 0.
    pub(crate) fn at(&self, positions: Tensor<B, 2, Int>) -> Self {
        let [batch, seq] = positions.dims();
        let positions = positions.reshape([batch * seq]);
        let pick = |table: &Tensor<B, 3>| {
            let picked = table.clone().select(1, positions.clone());
            picked.reshape([batch, seq, table.dims()[2]])
        };
        Self {
            cos: pick(&self.cos),
            sin: pick(&self.sin),
        }
    }

    /// The part for positions `start..start + count`.
    pub(crate) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(1, start, count),
            sin: self.sin.clone().narrow(1, start, count),
        }
    }

    /// Rotates `x`, `[batch, heads, seq, head_dim]`, by one position a token.
    pub(crate) fn apply(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, heads, seq, width] = x.dims();
        let half = width / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let swapped = Tensor::cat(vec![second, first], 3);
        // A row for each head and one row of angles: the broadcast that every backend does fast.
        let [rows, ..] = self.cos.dims();
        let by_row = |x: Tensor<B, 4>| x.reshape([rows, batch * heads / rows, seq * width]);
        let angles = |angles: &Tensor<B, 3>| angles.clone().reshape([rows, 1, seq * width]);
        let turned = by_row(x) * angles(&self.cos) + by_row(swapped) * angles(&self.sin);
        turned.reshape([batch, heads, seq, width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RopeScaling;
    use burn::backend::Flex;

    fn llama31() -> LlamaConfig {
        let config = serde_json::json!({
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
            "rope_theta": 500000.0, "max_position_embeddings": 131072,
        });
        LlamaConfig::from_hf(&config, "test").unwrap()
    }

    #[test]
    fn llama3_scaling_keeps_fast_pairs_divides_slow_ones_and_blends_between() {
        let mut config = llama31();
        let plain = frequencies(&config);
        config.rope_scaling = Some(RopeScaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        });
        let scaled = frequencies(&config);
        for (pair, (plain, scaled)) in plain.iter().zip(&scaled).enumerate() {
            let wavelength = 2.0 * PI / plain;
            if wavelength < 8192.0 / 4.0 {
                assert_eq!(plain, scaled, "pair {pair}");
            } else if wavelength > 8192.0 {
                assert!((plain / 8.0 - scaled).abs() < 1e-18, "pair {pair}");
            } else {
                let smooth = (8192.0 / wavelength - 1.0) / 3.0;
                let expected = (1.0 - smooth) * plain / 8.0 + smooth * plain;
                assert!((expected - scaled).abs() < 1e-15, "pair {pair}");
            }
        }
        // All three cases occur.
        assert_eq!(plain[0], scaled[0]);
        assert!(scaled[63] < plain[63] / 7.9);
        assert!(
            plain
                .iter()
                .zip(&scaled)
                .any(|(p, s)| s < p && *s > p / 7.9)
        );
    }

    #[test]
    fn pairs_are_half_a_head_apart() {
        // Position 1, frequencies 1 and 0.01: (1, 2, 0, 0) turns in the planes (0, 2) and (1, 3).
        let rotary = Rotary::<Flex>::new(&[1.0, 0.01], 0, 3, &Default::default()).narrow(1, 1);
        let x = Tensor::<Flex, 4>::from_data([[[[1.0, 2.0, 0.0, 0.0]]]], &Default::default());
        let turned: Vec<f32> = rotary.apply(x).into_data().into_vec().unwrap();
        let expected = [
            1_f64.cos(),
            2.0 * 0.01_f64.cos(),
            1_f64.sin(),
            2.0 * 0.01_f64.sin(),
        ];
        for (found, expected) in turned.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{turned:?}");
        }
    }
}
