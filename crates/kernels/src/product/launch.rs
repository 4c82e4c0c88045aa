//! Launch of cubek's kernel.

use super::tiles::{ALIGNED, Sizes, Tiles, layout, multiplies_quickly, sizes};
use crate::cube::tensor::{as_it_is, empty, processors};
use crate::primitive::{unwrap, wrap};
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::std::tensor::into_contiguous_pitched;
use cubecl::zspace::{Strides, metadata::Metadata};
use cubek_matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek_matmul::launch::{Strategy, launch_ref};
use cubek_matmul::routines::BlueprintStrategy;
use cubek_std::{InputBinding, MatrixLayout};

/// Multiprocessors of a device that does not say.
const PROCESSORS: usize = 128;
/// Least inner dimension of a product that is cut along it, and of each part.
const LONG: usize = 2048;
const LEAST_PART: usize = 512;
/// Most parts.
const PARTS: usize = 8;

/// [`product`](super::product()) on primitives.
pub(crate) fn product<R, F, I, BT>(lhs: CubeTensor<R>, rhs: CubeTensor<R>) -> CubeTensor<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    if lhs.dtype != rhs.dtype || !multiplies_quickly(&lhs) {
        return CubeBackend::<R, F, I, BT>::float_matmul(lhs, rhs);
    }
    let [lhs, rhs] = [lhs, rhs].map(laid_out);
    let Some(sizes) = sizes(&lhs, &rhs) else {
        return CubeBackend::<R, F, I, BT>::float_matmul(lhs, rhs);
    };
    let dtype = lhs.dtype;
    let processors = processors(&lhs.client, PROCESSORS);
    let found = match parts(&sizes, processors) {
        1 => launch(&lhs, &rhs, &sizes, dtype, processors),
        parts => in_parts::<R, F, I, BT>(&lhs, &rhs, sizes, parts, processors),
    };
    found.unwrap_or_else(|| CubeBackend::<R, F, I, BT>::float_matmul(lhs, rhs))
}

/// The tensor as a device copies tiles of it: itself, or a copy with lines at multiples of what is moved at a time.
fn laid_out<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    if layout(&tensor).is_some() {
        return tensor;
    }
    if is_aligned(&tensor) {
        return as_it_is(tensor);
    }
    if tensor.meta.shape().num_dims() > 2 {
        // Matrices that follow each other have no room between lines: a copy would not serve.
        return tensor;
    }
    let (client, device, dtype) = (tensor.client.clone(), tensor.device.clone(), tensor.dtype);
    let copy = into_contiguous_pitched(&client, tensor.binding(), dtype.into());
    CubeTensor::new(client, copy.handle, *copy.metadata, device, dtype)
}

/// Whether rows that lie together start at multiples of what is moved at a time.
fn is_aligned<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    let shape = tensor.meta.shape();
    (shape[shape.num_dims() - 1] * tensor.dtype.size()).is_multiple_of(ALIGNED)
}

/// Parts of the inner dimension that are multiplied by themselves: 1 where the result alone keeps the device busy. Parts of both
/// operands have to be matrices that follow each other.
fn parts(sizes: &Sizes, processors: usize) -> usize {
    let is_cut = (sizes.lhs, sizes.rhs) == (MatrixLayout::ColMajor, MatrixLayout::RowMajor);
    let is_cut = is_cut && !sizes.has_gaps && sizes.batch == 1 && sizes.inner >= LONG;
    let cubes = Tiles::cubes_of_least(sizes);
    if !is_cut || cubes >= processors {
        return 1;
    }
    let mut parts = 1;
    while parts < PARTS
        && 2 * parts * cubes <= 4 * processors
        && sizes.inner.is_multiple_of(2 * parts * LEAST_PART)
    {
        parts *= 2;
    }
    parts
}

/// The product by parts of the inner dimension, whose results are summed in f32.
fn in_parts<R, F, I, BT>(
    lhs: &CubeTensor<R>,
    rhs: &CubeTensor<R>,
    sizes: Sizes,
    parts: usize,
    processors: usize,
) -> Option<CubeTensor<R>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let Sizes {
        rows,
        inner,
        columns,
        ..
    } = sizes;
    let dtype = lhs.dtype;
    let part = inner / parts;
    let lhs = view(lhs, [parts, rows, part], [part * rows, 1, rows]);
    let rhs = view(rhs, [parts, part, columns], [part * columns, columns, 1]);
    let sizes = Sizes {
        batch: parts,
        inner: part,
        ..sizes
    };
    let found = launch(&lhs, &rhs, &sizes, DType::F32, processors)?;
    let sum = wrap::<CubeBackend<R, F, I, BT>, 3>(found).sum_dim(0);
    let sum = sum.cast(FloatDType::from(dtype));
    Some(unwrap(sum.reshape([rows, columns])))
}

/// The memory of a tensor without gaps in other dimensions.
fn view<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    shape: [usize; 3],
    strides: [usize; 3],
) -> CubeTensor<R> {
    let meta = Metadata::new(Shape::from(shape), Strides::from(strides.to_vec()));
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    CubeTensor::new(client, tensor.handle.clone(), meta, device, tensor.dtype)
}

fn out_shape<R: CubeRuntime>(lhs: &CubeTensor<R>, rhs: &CubeTensor<R>) -> Shape {
    let mut shape = lhs.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = rhs.meta.shape()[last];
    shape
}

/// None if the device does not take it after all.
fn launch<R: CubeRuntime>(
    lhs: &CubeTensor<R>,
    rhs: &CubeTensor<R>,
    sizes: &Sizes,
    out_dtype: DType,
    processors: usize,
) -> Option<CubeTensor<R>> {
    let dtypes = MatmulGlobalElems {
        lhs: lhs.dtype.into(),
        rhs: rhs.dtype.into(),
        out: out_dtype.into(),
    };
    let tiles = Tiles::for_device(sizes, processors);
    let blueprint = tiles.blueprint(sizes, dtypes.clone());
    let strategy = Strategy::SimpleTmaMma(BlueprintStrategy::Forced(blueprint));
    let mut out = empty(lhs, out_shape(lhs, rhs), out_dtype);
    if !is_aligned(&out) {
        // With gaps between rows, so that they are written in vectors.
        let (client, device, shape) = (out.client, out.device, out.meta.shape().clone());
        out = empty_device_dtype(client, device, shape, out_dtype);
    }
    let input =
        |tensor: &CubeTensor<R>| InputBinding::new(tensor.clone().binding(), tensor.dtype.into());
    let launched = launch_ref(
        &strategy,
        &out.client,
        input(lhs),
        input(rhs),
        out.clone().binding(),
        &mut MatmulElems::from_globals(&dtypes),
    );
    launched.is_ok().then_some(out)
}
