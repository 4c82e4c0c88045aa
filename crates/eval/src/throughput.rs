//! Prefill and decoding by batch and context: tokens a second, time to the first token, bytes of decode state.
use kernels::SsmBackend;
use model::{HybridModel, Sampling, decode_state_bytes, generate_batch};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::speed::median;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThroughputOptions {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each prompt.
    pub context: usize,
    /// Tokens decoded after the first.
    pub decode_tokens: usize,
    /// Timed rounds after one warm-up; the median is reported.
    pub rounds: usize,
}

/// Times of one batch and context.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each prompt.
    pub context: usize,
    /// From the start to the first new token of every sequence.
    pub first_token_ms: f64,
    /// Prompt tokens of all sequences a second, until then.
    pub prefill_tokens_per_s: f64,
    /// Decoded tokens of all sequences a second.
    pub decode_tokens_per_s: f64,
    /// Decode state of all sequences after the prompt, in bytes.
    pub state_bytes: usize,
}

/// Times greedy decoding of equal prompts. Each token is read back, so the device is idle when a time is taken.
///
/// # Errors
/// [`EvalError::Empty`] when a count is zero; what the model refuses.
pub fn throughput<B: SsmBackend>(
    model: &HybridModel<B>,
    options: ThroughputOptions,
) -> Result<Throughput, EvalError> {
    let ThroughputOptions {
        batch,
        context,
        decode_tokens,
        rounds,
    } = options;
    if batch == 0 || context == 0 || decode_tokens == 0 || rounds == 0 {
        return Err(EvalError::Empty {
            found: format!(
                "{batch} sequences of {context} tokens, {decode_tokens} decoded, {rounds} rounds"
            ),
            expected: "at least 1 of each",
        });
    }
    let config = model.config();
    // Any ids do: the work does not depend on them.
    let ids = (0..context).map(|index| ((index * 7919 + 13) % config.llama.vocab_size) as u32);
    let prompts = vec![ids.collect::<Vec<_>>(); batch];
    // The first token comes with the prefill.
    let sampling = Sampling::greedy(decode_tokens + 1);
    generate_batch(model, &prompts, &sampling)?;
    let (mut first, mut rest) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let replies = generate_batch(model, &prompts, &sampling)?;
        let last = replies.last().expect("as many as prompts");
        first.push(last.prefill_ms);
        rest.push(last.decode_ms);
    }
    let (first_token_ms, decode_ms) = (median(first), median(rest));
    let per_second = |tokens: usize, ms: f64| (batch * tokens) as f64 * 1e3 / ms.max(1e-6);
    Ok(Throughput {
        batch,
        context,
        first_token_ms,
        prefill_tokens_per_s: per_second(context, first_token_ms),
        decode_tokens_per_s: per_second(decode_tokens, decode_ms),
        state_bytes: batch * decode_state_bytes(config, context),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_work_grow_with_the_batch() {
        let model = crate::tiny_model::tiny_model(97);
        let options = ThroughputOptions {
            batch: 3,
            context: 10,
            decode_tokens: 2,
            rounds: 1,
        };
        let found = throughput(&model, options).unwrap();
        // Keys and values of two layers, one head of 16, in f32.
        assert_eq!(found.state_bytes, 3 * 10 * 2 * 2 * 16 * 4);
        let tokens = found.prefill_tokens_per_s * found.first_token_ms / 1e3;
        assert!((tokens - 30.0).abs() < 1e-6, "{tokens}");
        assert!(found.decode_tokens_per_s > 0.0);
        let none = ThroughputOptions {
            batch: 0,
            ..options
        };
        assert!(matches!(
            throughput(&model, none),
            Err(EvalError::Empty { .. })
        ));
    }
}
