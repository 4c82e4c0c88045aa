//! Launches of the CubeCL kernel: one for each tensor, one for the parts.

use super::kernel::{UNITS, partial_sums};
use crate::cube::tensor::{as_it_is, empty, vector_size};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Most parts of a tensor's sum.
const PARTS: usize = 128;

/// [`squared_norm`](super::squared_norm()) of at least one tensor.
pub(crate) fn sum<R: CubeRuntime>(tensors: Vec<CubeTensor<R>>) -> CubeTensor<R> {
    let sums: Vec<_> = (tensors.into_iter()).map(Sum::of_squares).collect();
    let parts: usize = sums.iter().map(|sum| sum.parts).sum();
    let partial = empty(&sums[0].values, [parts], DType::F32);
    let mut first = 0;
    for sum in sums {
        let parts = sum.parts;
        sum.launch(&partial, first, true);
        first += parts;
    }
    let total = empty(&partial, [1], DType::F32);
    Sum::of_parts(partial).launch(&total, 0, false);
    total
}

/// A sum and how it is cut.
struct Sum<R: CubeRuntime> {
    values: CubeTensor<R>,
    wide: usize,
    vectors: usize,
    parts: usize,
}

impl<R: CubeRuntime> Sum<R> {
    fn of_squares(values: CubeTensor<R>) -> Self {
        let values = as_it_is(values);
        let length = values.meta.num_elements();
        let wide = vector_size(&values, length, 4);
        let vectors = length / wide;
        Self {
            values,
            wide,
            vectors,
            parts: vectors.div_ceil(4 * UNITS).clamp(1, PARTS),
        }
    }

    fn of_parts(values: CubeTensor<R>) -> Self {
        Self {
            vectors: values.meta.num_elements(),
            values,
            wide: 1,
            parts: 1,
        }
    }

    /// Writes the parts to `sums` from `first` on.
    fn launch(self, sums: &CubeTensor<R>, first: usize, of_squares: bool) {
        let (client, dtype) = (self.values.client.clone(), self.values.dtype);
        // SAFETY: the kernel reads and writes where the sizes it is given allow.
        unsafe {
            partial_sums::launch_unchecked::<R>(
                &client,
                CubeCount::Static(self.parts as u32, 1, 1),
                CubeDim::new_1d(UNITS as u32),
                self.wide,
                self.values.into_tensor_arg(),
                sums.clone().into_tensor_arg(),
                first,
                self.vectors,
                of_squares,
                dtype.into(),
            );
        }
    }
}
