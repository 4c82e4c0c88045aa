//! A block of logits as probabilities, computed once for every loss that needs them.

use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Distributions over the vocabulary, one a row.
#[derive(Debug, Clone)]
pub struct Distribution<B: Backend> {
    /// Logits, `[rows, vocab]`.
    logits: Tensor<B, 2>,
    /// Logarithm of the sum of their exponentials, `[rows, 1]`.
    log_normalizer: Tensor<B, 2>,
    /// Probabilities, `[rows, vocab]`.
    probs: Tensor<B, 2>,
}

impl<B: Backend> Distribution<B> {
    /// Of `logits`, `[rows, vocab]`.
    pub fn new(logits: Tensor<B, 2>) -> Self {
        let probs = softmax(logits.clone(), 1);
        // The largest probability is exp(max - log_normalizer): no second pass of exponentials.
        let log_normalizer = logits.clone().max_dim(1) - probs.clone().max_dim(1).log();
        Self {
            logits,
            log_normalizer,
            probs,
        }
    }

    /// Of `logits / temperature`.
    pub fn at_temperature(logits: Tensor<B, 2>, temperature: f64) -> Self {
        if temperature == 1.0 {
            Self::new(logits)
        } else {
            Self::new(logits.div_scalar(temperature))
        }
    }

    /// The same at another temperature, counted from this one.
    pub fn tempered(&self, temperature: f64) -> Self {
        if temperature == 1.0 {
            self.clone()
        } else {
            Self::at_temperature(self.logits(), temperature)
        }
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.logits.dims()[1]
    }

    /// Logits, `[rows, vocab]`.
    pub fn logits(&self) -> Tensor<B, 2> {
        self.logits.clone()
    }

    /// Probabilities, `[rows, vocab]`.
    pub fn probs(&self) -> Tensor<B, 2> {
        self.probs.clone()
    }

    /// `log p - log q` of every token, `[rows, vocab]`; exactly zero where both are equal.
    pub fn log_ratio(&self, other: &Self) -> Tensor<B, 2> {
        let normalizers = self.log_normalizer.clone() - other.log_normalizer.clone();
        self.logits() - other.logits() - normalizers
    }

    /// Log-probability of one token of each row, `[rows, 1]`.
    /// - `labels`: `[rows, 1]`
    pub fn label_log_probs(&self, labels: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        self.logits().gather(1, labels) - self.log_normalizer.clone()
    }
}
