//! Operands and outputs of our own kernels: contiguous, addressed row by row.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// The tensor as a kernel wants it: in this element type and without gaps between rows.
pub(crate) fn operand<R: CubeRuntime>(tensor: CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    into_contiguous(cast(tensor, dtype))
}

/// A new tensor beside another one. The runtime's preferred layout may pad rows, so it is not asked.
pub(crate) fn empty<R: CubeRuntime>(
    beside: &CubeTensor<R>,
    dims: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    empty_device_contiguous_dtype(client, device, dims.into(), dtype)
}

/// Elements that one load moves, given the length of a row and at most `limit`.
pub(crate) fn vector_size<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    row: usize,
    limit: usize,
) -> usize {
    let mut sizes = tensor.client.io_optimized_vector_sizes(tensor.dtype.size());
    sizes
        .find(|&size| size <= limit && row.is_multiple_of(size))
        .unwrap_or(1)
}
