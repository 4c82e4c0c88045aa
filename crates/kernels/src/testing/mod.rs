//! Seeded inputs and comparisons for tests of this crate and of those built on it.

#[cfg(all(test, feature = "flex"))]
pub(crate) mod golden;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod laws;
#[cfg(all(test, feature = "wgpu", not(feature = "cuda")))]
pub(crate) mod limited;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod single_output;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod state_space;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod subject;

pub use crate::seeded::Seeded;
pub use crate::self_test::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE};

use burn::tensor::{Tensor, backend::Backend};

/// Checks `got` against `expected`; `tolerance` is relative to the RMS of `expected`.
///
/// # Panics
/// If the lengths differ, a value is not finite, or an error is too large; the message holds the
/// index, what was found and what was expected.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: number of elements");
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len().max(1) as f64).sqrt();
    let limit = tolerance * rms.max(1e-30);
    let mut worst: Option<(usize, f64)> = None;
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            got.is_finite(),
            "{name}: [{index}] is {got}, expected {expected:e}"
        );
        let error = (f64::from(got) - expected).abs();
        if worst.is_none_or(|(_, largest)| error > largest) {
            worst = Some((index, error));
        }
    }
    if let Some((index, error)) = worst {
        assert!(
            error <= limit,
            "{name}: [{index}] is {:e}, expected {:e}: error {error:e} above {limit:e} \
             ({tolerance:e} of RMS {rms:e})",
            got[index],
            expected[index],
        );
    }
}

/// Checks one tensor against another, as [`assert_close`].
///
/// # Panics
/// If the shapes differ, or as [`assert_close`].
#[track_caller]
pub fn assert_tensors_close<B: Backend, const D: usize>(
    name: &str,
    got: Tensor<B, D>,
    expected: Tensor<B, D>,
    tolerance: f64,
) {
    assert_eq!(got.dims(), expected.dims(), "{name}: shape");
    let got: Vec<f32> = got.into_data().iter::<f32>().collect();
    let expected: Vec<f64> = expected.into_data().iter::<f64>().collect();
    assert_close(name, &got, &expected, tolerance);
}

/// Checks that every element is a finite number.
///
/// # Panics
/// At the first element that is not.
#[track_caller]
pub fn assert_finite<B: Backend, const D: usize>(name: &str, tensor: Tensor<B, D>) {
    for (index, value) in tensor.into_data().iter::<f32>().enumerate() {
        assert!(value.is_finite(), "{name}: [{index}] is {value}");
    }
}
