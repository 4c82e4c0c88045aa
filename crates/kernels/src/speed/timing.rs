//! Clocks, and what a device can copy.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};
use std::time::Instant;

/// Rounds after the first, which compiles.
const ROUNDS: usize = 5;
/// Most launches of a round.
const RUNS: usize = 10;
/// Seconds that a round may take, if one launch does not take longer.
const ROUND_SECONDS: f64 = 0.2;

/// Times of one case.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The operation.
    pub op: &'static str,
    /// Sizes.
    pub case: String,
    /// Milliseconds of the forward pass.
    pub forward_ms: f64,
    /// Milliseconds of forward and backward, of an operation that trains.
    pub both_ms: Option<f64>,
    /// Bytes of inputs and outputs, each counted once.
    pub forward_bytes: usize,
    /// Those, the gradient of the output and the gradients of the inputs, each counted once.
    pub both_bytes: usize,
}

impl Measurement {
    /// Gigabytes a second of the forward pass, every tensor counted once.
    pub fn forward_gigabytes_per_s(&self) -> f64 {
        self.forward_bytes as f64 / self.forward_ms * 1e-6
    }

    /// Gigabytes a second of forward and backward, every tensor counted once.
    pub fn both_gigabytes_per_s(&self) -> Option<f64> {
        self.both_ms.map(|ms| self.both_bytes as f64 / ms * 1e-6)
    }
}

/// Least milliseconds of a run.
pub(super) fn best_ms<B: Backend>(mut run: impl FnMut()) -> f64 {
    let device = Default::default();
    let mut round = |runs: usize| {
        let start = Instant::now();
        for _ in 0..runs {
            run();
        }
        B::sync(&device).expect("the device answers");
        start.elapsed().as_secs_f64() / runs as f64
    };
    // The first compiles, the second tells how many fit into a round.
    round(1);
    let runs = (ROUND_SECONDS / round(1)) as usize;
    let runs = runs.clamp(1, RUNS);
    (0..ROUNDS)
        .map(|_| round(runs))
        .fold(f64::INFINITY, f64::min)
        * 1e3
}

/// Times `run` on plain inputs and on leaves of a tape; the loss `y . dy` is timed alone and taken
/// off.
pub(super) fn forward_and_both<B: Backend>(
    dy: Tensor<Autodiff<B>, 3>,
    mut forward: impl FnMut(),
    mut taped: impl FnMut() -> Tensor<Autodiff<B>, 3>,
) -> (f64, f64) {
    let forward = best_ms::<B>(&mut forward);
    let y = dy.clone().inner();
    let loss = best_ms::<B>(|| {
        let y = Tensor::<Autodiff<B>, 3>::from_inner(y.clone()).require_grad();
        (y * dy.clone()).sum().backward();
    });
    let both = best_ms::<B>(|| {
        (taped() * dy.clone()).sum().backward();
    });
    (forward, both - loss)
}

/// Gigabytes a second, read and written, of copying `elements` f32.
pub fn copy_gigabytes_per_s<B: Backend>(elements: usize) -> f64 {
    let source = Tensor::<B, 1>::ones([elements], &Default::default());
    let ms = best_ms::<B>(|| {
        // A sum with zero reads everything and writes as much.
        let _ = source.clone().add_scalar(0.0);
    });
    2.0 * 4.0 * elements as f64 / ms * 1e-6
}

/// Bytes of one number.
pub(super) fn width(dtype: DType) -> usize {
    dtype.size()
}
