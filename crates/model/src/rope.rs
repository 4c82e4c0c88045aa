//! Rotary positions in the half-split layout of Hugging Face checkpoints (method 2.1, step 3).

use std::f64::consts::PI;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use kernels::{SsmBackend, rotary};

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

/// Angles of positions, for [`kernels::rotary`]. Rows of a batch share them, or each has its own.
#[derive(Clone, Debug)]
pub(crate) struct Rotary<B: Backend> {
    angles: Tensor<B, 3>, // [1 or batch, positions, head_dim], cosines before sines
}

impl<B: Backend> Rotary<B> {
    /// Angles of positions `start..start + count`, computed in f64.
    pub(crate) fn new(frequencies: &[f64], start: usize, count: usize, device: &B::Device) -> Self {
        let head_dim = 2 * frequencies.len();
        let mut angles = Vec::with_capacity(count * head_dim);
        for position in start..start + count {
            let turns = frequencies
                .iter()
                .map(|frequency| position as f64 * frequency);
            let (sin, cos): (Vec<f64>, Vec<f64>) = turns.map(f64::sin_cos).unzip();
            angles.extend(cos.into_iter().chain(sin).map(|value| value as f32));
        }
        Self {
            angles: Tensor::from_data(TensorData::new(angles, [1, count, head_dim]), device),
        }
    }

    /// `[1 or batch, positions, head_dim]`, cosines before sines.
    pub(crate) fn angles(&self) -> Tensor<B, 3> {
        self.angles.clone()
    }

    pub(crate) fn device(&self) -> B::Device {
        self.angles.device()
    }

    pub(crate) fn positions(&self) -> usize {
        self.angles.dims()[1]
    }

    /// Of the tokens at `positions`, `[batch, seq]`, from a table that starts at position 0.
    pub(crate) fn at(&self, positions: Tensor<B, 2, Int>) -> Self {
        let [batch, seq] = positions.dims();
        let picked = (self.angles.clone()).select(1, positions.reshape([batch * seq]));
        Self {
            angles: picked.reshape([batch, seq, self.angles.dims()[2]]),
        }
    }

    /// The part for positions `start..start + count`.
    pub(crate) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            angles: self.angles.clone().narrow(1, start, count),
        }
    }
}

impl<B: SsmBackend> Rotary<B> {
    /// Rotates `x`, `[batch, seq, heads * head_dim]`, by one position a token: `[batch, heads, seq, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        rotary(x, self.angles.clone()).expect("angles for each token, heads of their width")
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
        let x = Tensor::<Flex, 3>::from_data([[[1.0, 2.0, 0.0, 0.0]]], &Default::default());
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
