//! Random numbers that are the same on every machine.

use burn::tensor::{Device, Shape, Tensor, TensorData, backend::Backend};

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
