//! Tokens per second of prefill and of decoding at batch 1, and bytes of decode state.
use std::time::Instant;

use burn::tensor::{Int, Tensor};
use kernels::{SsmBackend, argmax};
use model::decode::Sampling;
use model::{HybridModel, decode_state_bytes};
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Context at which decode state is reported.
pub const STATE_CONTEXT: usize = 4096;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeedOptions {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens decoded after the first.
    pub decode_tokens: usize,
    /// Timed rounds after one warm-up; the median is reported.
    pub rounds: usize,
}

impl Default for SpeedOptions {
    fn default() -> Self {
        Self {
            prompt_tokens: 64,
            decode_tokens: 64,
            rounds: 3,
        }
    }
}

/// Speed and state of one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Prompt tokens per second until the first new token, median of the rounds.
    pub prefill_tokens_per_s: f64,
    /// Decoded tokens per second at batch 1, median of the rounds.
    pub decode_tokens_per_s: f64,
    /// Decode state of one sequence at [`STATE_CONTEXT`] tokens, in bytes.
    pub state_bytes: usize,
}

/// Times greedy decoding of one sequence. Each token is read back, so the device is idle when a time is taken.
///
/// # Errors
/// [`EvalError::Empty`] when a count is zero.
pub fn measure<B: SsmBackend>(
    model: &HybridModel<B>,
    options: SpeedOptions,
) -> Result<Speed, EvalError> {
    let SpeedOptions {
        prompt_tokens,
        decode_tokens,
        rounds,
    } = options;
    if prompt_tokens == 0 || decode_tokens == 0 || rounds == 0 {
        return Err(EvalError::Empty {
            found: format!(
                "{prompt_tokens} prompt tokens, {decode_tokens} decoded, {rounds} rounds"
            ),
            expected: "at least 1 of each",
        });
    }
    let config = model.config();
    let prompt = any_ids(prompt_tokens, config.llama.vocab_size);
    // The first token comes with the prefill.
    let sampling = Sampling::greedy(decode_tokens + 1);
    model.generate(&prompt, &sampling)?;
    let (mut prefill, mut decode) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let reply = model.generate(&prompt, &sampling)?;
        prefill.push(per_second(prompt_tokens, reply.prefill_ms));
        decode.push(per_second(decode_tokens, reply.decode_ms));
    }
    Ok(Speed {
        prefill_tokens_per_s: median(prefill),
        decode_tokens_per_s: median(decode),
        state_bytes: decode_state_bytes(config, STATE_CONTEXT),
    })
}

/// Milliseconds in which the host queues the work of one greedy token at batch 1, the median of the rounds, waiting for nothing; the
/// device may take longer. A backend without a queue computes meanwhile.
///
/// # Panics
/// If the device fails.
pub fn queue_ms<B: SsmBackend>(model: &HybridModel<B>, options: SpeedOptions) -> f64 {
    let device = model.device();
    let prompt = any_ids(options.prompt_tokens, model.config().llama.vocab_size);
    let prompt: Vec<i32> = prompt.into_iter().map(|id| id as i32).collect();
    let rounds = (0..options.rounds + 1).map(|_| {
        let mut cache = model.new_cache(1, options.prompt_tokens + options.decode_tokens);
        let tokens = Tensor::<B, 1, Int>::from_data(prompt.as_slice(), &device).unsqueeze();
        model.hidden_cached(tokens.clone(), &mut cache);
        let mut token = tokens.narrow(1, 0, 1);
        B::sync(&device).expect("the device answers");
        let started = Instant::now();
        for _ in 0..options.decode_tokens {
            let logits = model.forward_cached(token, &mut cache).squeeze_dim(1);
            token = argmax(logits).expect("there is a vocabulary");
        }
        let queued = started.elapsed();
        B::sync(&device).expect("the device answers");
        queued.as_secs_f64() * 1e3 / options.decode_tokens as f64
    });
    // Kernels are compiled in the first round.
    median(rounds.skip(1).collect())
}

/// Any ids do: the work does not depend on them.
fn any_ids(count: usize, vocab_size: usize) -> Vec<u32> {
    let id = |index| ((index * 7919 + 13) % vocab_size) as u32;
    (0..count).map(id).collect()
}

fn per_second(tokens: usize, wall_ms: f64) -> f64 {
    tokens as f64 * 1e3 / wall_ms.max(1e-6)
}

/// The middle value, the upper of two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_model_is_timed() {
        let model = crate::tiny_model::tiny_model(97);
        let options = SpeedOptions {
            prompt_tokens: 5,
            decode_tokens: 3,
            rounds: 1,
        };
        let speed = measure(&model, options).unwrap();
        assert!(speed.prefill_tokens_per_s > 1.0 && speed.decode_tokens_per_s > 1.0);
        // Keys and values of two layers, one head of 16, in f32.
        assert_eq!(speed.state_bytes, 2 * 2 * 16 * 4 * STATE_CONTEXT);
        let none = SpeedOptions {
            decode_tokens: 0,
            ..options
        };
        assert!(matches!(
            measure(&model, none),
            Err(EvalError::Empty { .. })
        ));
    }

    #[test]
    fn median_ignores_an_outlier() {
        assert_eq!(median(vec![5.0, 1000.0, 4.0]), 5.0);
        assert_eq!(median(vec![2.0]), 2.0);
    }
}
