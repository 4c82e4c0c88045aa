//! Seeded inputs and comparisons for tests of this crate and of those built on it.

#[cfg(all(test, feature = "flex"))]
pub(crate) mod golden;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod laws;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod single_output;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod state_space;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod subject;

use burn::tensor::{Device, Shape, Tensor, TensorData, backend::Backend};

/// Largest error allowed in f32 outputs, relative to the RMS of the expected tensor.
pub const F32_TOLERANCE: f64 = 2e-5;

/// Largest error allowed in f32 gradients, relative to the RMS of the expected tensor.
pub const F32_GRADIENT_TOLERANCE: f64 = 1e-4;

/// A small seeded generator (SplitMix64): the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let unit = (bits >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }

    /// The next `length` numbers, uniform in `low..high`.
    pub fn uniforms(&mut self, length: usize, low: f32, high: f32) -> Vec<f32> {
        (0..length).map(|_| self.uniform(low, high)).collect()
    }

    /// A tensor of numbers uniform in `low..high`.
    pub fn tensor<B: Backend, const D: usize>(
        &mut self,
        dims: [usize; D],
        low: f32,
        high: f32,
        device: &Device<B>,
    ) -> Tensor<B, D> {
        let values = self.uniforms(dims.iter().product(), low, high);
        Tensor::from_data(TensorData::new(values, Shape::new(dims)), device)
    }
}

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
