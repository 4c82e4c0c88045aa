use burn::tensor::{Device, Tensor, TensorData, backend::Backend};

/// How many tokens of the last call each sequence kept, on the host and on the device: made once a
/// round for all layers.
#[derive(Clone, Debug)]
pub struct Kept<B: Backend> {
    counts: Vec<usize>,
    tensor: Tensor<B, 1>,
}

impl<B: Backend> Kept<B> {
    /// Uploads the counts, one a sequence.
    pub fn new(counts: Vec<usize>, device: &Device<B>) -> Self {
        let values: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
        let length = values.len();
        Self {
            counts,
            tensor: Tensor::from_data(TensorData::new(values, [length]), device),
        }
    }

    /// The counts.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    pub(super) fn tensor(&self) -> Tensor<B, 1> {
        self.tensor.clone()
    }
}
