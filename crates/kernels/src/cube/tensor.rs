//! Operands and outputs of our own kernels: contiguous, addressed row by row.

use super::rows::RowStridesLaunch;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::{ArrayArg, ComputeClient};
use cubecl::server::{MemoryLayout, MemoryLayoutDescriptor};

/// The tensor as a kernel wants it: in this element type and without gaps between rows.
pub(crate) fn operand<R: CubeRuntime>(tensor: CubeTensor<R>, dtype: DType) -> CubeTensor<R> {
    let tensor = cast(tensor, dtype);
    if tensor.is_contiguous() || together(&tensor, 0).is_none() {
        return into_contiguous(tensor);
    }
    // Only strides of dimensions of one say otherwise, and no step is taken by those.
    let shape = tensor.meta.shape().clone();
    CubeTensor::new_contiguous(
        tensor.client,
        tensor.device,
        shape,
        tensor.handle,
        tensor.dtype,
    )
}

/// As [`operand`], in the element type that the tensor has.
pub(crate) fn as_it_is<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    let dtype = tensor.dtype;
    operand(tensor, dtype)
}

/// Elements of the dimensions from `first` on; none if they do not lie together in their order.
fn together<R: CubeRuntime>(tensor: &CubeTensor<R>, first: usize) -> Option<usize> {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let mut together = 1;
    for dim in (first..shape.num_dims()).rev() {
        if shape[dim] > 1 && strides[dim] != together {
            return None;
        }
        together *= shape[dim];
    }
    Some(together)
}

/// As [`operand`], but rows may be apart: `[batch, seq, ..]` is taken as it lies if the elements of a
/// step lie together and every step starts at a multiple of `vector` elements. A kernel then finds its
/// rows by the strides of the first two dimensions. Slices of a projection and outputs with padded rows
/// need no copy that way.
pub(crate) fn rows_operand<R: CubeRuntime>(
    tensor: CubeTensor<R>,
    dtype: DType,
    vector: usize,
) -> CubeTensor<R> {
    let tensor = cast(tensor, dtype);
    match has_rows(&tensor, vector) {
        true => tensor,
        false => into_contiguous(tensor),
    }
}

fn has_rows<R: CubeRuntime>(tensor: &CubeTensor<R>, vector: usize) -> bool {
    if together(tensor, 2).is_none() {
        return false;
    }
    let strides = tensor.meta.strides();
    let bytes = (vector * tensor.dtype.size()) as u64;
    let offset = tensor.handle.offset_start.unwrap_or(0);
    (0..2).all(|dim| strides[dim].is_multiple_of(vector)) && offset.is_multiple_of(bytes)
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

/// As [`empty`], several in one allocation.
pub(crate) fn empties<R: CubeRuntime, const N: usize>(
    beside: &CubeTensor<R>,
    tensors: [(Shape, DType); N],
) -> [CubeTensor<R>; N] {
    let descriptors = tensors
        .iter()
        .map(|(shape, dtype)| MemoryLayoutDescriptor::contiguous(shape.clone(), dtype.size()));
    let mut layouts = beside
        .client
        .empty_tensors(descriptors.collect())
        .into_iter();
    tensors.map(|(shape, dtype)| {
        let MemoryLayout { memory, .. } = layouts.next().expect("one for each descriptor");
        let (client, device) = (beside.client.clone(), beside.device.clone());
        CubeTensor::new_contiguous(client, device, shape, memory, dtype)
    })
}

/// A run of elements of a contiguous tensor as a tensor; it starts at a multiple of the device's alignment.
pub(crate) fn part<R: CubeRuntime>(
    whole: &CubeTensor<R>,
    first: usize,
    dims: impl Into<Shape>,
) -> CubeTensor<R> {
    let (dims, size) = (dims.into(), whole.dtype.size());
    let behind = whole.meta.num_elements() - first - dims.num_elements();
    let handle = whole.handle.clone();
    let handle = handle
        .offset_start((first * size) as u64)
        .offset_end((behind * size) as u64);
    let (client, device) = (whole.client.clone(), whole.device.clone());
    CubeTensor::new_contiguous(client, device, dims, handle, whole.dtype)
}

/// The memory of a tensor as a kernel's array, whatever its shape and strides.
///
/// Arrays bring a kernel their lengths alone, which go with its scalars. The shapes and strides of tensors are a buffer that CUDA allocates,
/// fills and copies to the device at every launch, and every 64th waits until the device has read those before the last 64: as much
/// as the launch itself where kernels are as small as those that decode a token.
pub(crate) fn array<R: CubeRuntime>(tensor: CubeTensor<R>) -> ArrayArg<R> {
    let length = tensor.handle.size_in_used() as usize / tensor.dtype.size();
    // SAFETY: the length is that of the memory.
    unsafe { ArrayArg::from_raw_parts(tensor.handle, length) }
}

/// Strides of `[batch, seq, ..]`, for a kernel that takes it as an [`array`].
pub(crate) fn row_strides<R: CubeRuntime>(tensor: &CubeTensor<R>) -> RowStridesLaunch<R> {
    let strides = tensor.meta.strides();
    RowStridesLaunch::new(strides[0], strides[1])
}

/// Units of a cube that merges what they found by halves: a power of two, at most `limit` and what the device has.
pub(crate) fn halving_units<R: CubeRuntime>(tensor: &CubeTensor<R>, limit: usize) -> usize {
    let most = tensor.client.properties().hardware.max_units_per_cube;
    limit.min(1 << most.ilog2())
}

/// Multiprocessors of a device; `otherwise` if it does not say.
pub(crate) fn processors<R: CubeRuntime>(client: &ComputeClient<R>, otherwise: usize) -> usize {
    let count = client.properties().hardware.num_streaming_multiprocessors;
    count.map_or(otherwise, |count| count as usize)
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
