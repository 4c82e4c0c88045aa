//! Launches of the CubeCL kernels.

use super::GatedRmsNormProblem;
use super::kernel::{Layout, gated_rms_norm_backward, gated_rms_norm_forward};
use crate::cube::sum::sum_rows;
use crate::cube::tensor::{empty, operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

const UNITS: usize = 256;
/// Rows whose shares of the weight's gradient a unit sums before it writes them.
const SHARE: usize = 16;

/// The power of two of units for each group that leaves the fewest idle, at most four vectors each
/// where a cube is large enough for that.
fn layout(vectors: usize) -> Layout {
    let held = |sharers: usize| vectors.div_ceil(sharers);
    let waste = |sharers: usize| held(sharers) * sharers - vectors;
    let sharers = (0..=UNITS.trailing_zeros())
        .rev()
        .map(|power| 1 << power)
        .filter(|&sharers| held(sharers) <= 4 || sharers == UNITS)
        .min_by_key(|&sharers| waste(sharers))
        .expect("the largest cube always qualifies");
    Layout {
        vectors,
        sharers,
        held: held(sharers),
        slots: UNITS / sharers,
    }
}

/// Cubes for so many slots.
fn cubes<R: CubeRuntime>(client: &ComputeClient<R>, slots: usize, layout: &Layout) -> CubeCount {
    let units = slots.div_ceil(layout.slots) * UNITS;
    calculate_cube_count_elemwise(client, units, CubeDim::new_1d(UNITS as u32))
}

/// Forward of [`gated_rms_norm`](super::gated_rms_norm()).
pub(crate) fn forward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 3],
    p: &GatedRmsNormProblem,
) -> CubeTensor<R> {
    let [y, z, weight] = operands;
    let (dtype, parameter) = (y.dtype, weight.dtype);
    let (y, z) = (operand(y, dtype), operand(z, dtype));
    let weight = operand(weight, parameter);
    let client = y.client.clone();
    let out = empty(&y, y.shape(), dtype);
    let wide = vector_size(&y, p.group_size, 8);
    let layout = layout(p.group_size / wide);
    let groups = p.channels / p.group_size;
    let items = p.batch * p.seq * groups;
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        gated_rms_norm_forward::launch_unchecked::<R>(
            &client,
            cubes(&client, items, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            y.into_tensor_arg(),
            z.into_tensor_arg(),
            weight.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            items,
            groups,
            p.eps as f32,
            layout,
            [dtype.into(), parameter.into()],
        );
    }

    out
}

/// Gradients of [`gated_rms_norm`](super::gated_rms_norm()) with respect to its operands.
pub(crate) fn backward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 3],
    gradient: CubeTensor<R>,
    p: &GatedRmsNormProblem,
) -> [CubeTensor<R>; 3] {
    let [y, z, weight] = operands;
    let (dtype, z_dtype, parameter) = (y.dtype, z.dtype, weight.dtype);
    let (y, z) = (operand(y, dtype), operand(z, dtype));
    let (weight, dout) = (operand(weight, parameter), operand(gradient, dtype));
    let client = y.client.clone();
    let (dy, dz) = (empty(&y, y.shape(), dtype), empty(&y, y.shape(), dtype));
    let wide = vector_size(&y, p.group_size, 8);
    let layout = layout(p.group_size / wide);
    let groups = p.channels / p.group_size;
    let rows = p.batch * p.seq;
    let stride = rows.div_ceil(SHARE);
    let partial = empty(&y, Shape::new([stride, p.channels]), DType::F32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        gated_rms_norm_backward::launch_unchecked::<R>(
            &client,
            cubes(&client, stride * groups, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            y.into_tensor_arg(),
            z.into_tensor_arg(),
            weight.into_tensor_arg(),
            dout.into_tensor_arg(),
            dy.clone().into_tensor_arg(),
            dz.clone().into_tensor_arg(),
            partial.clone().into_tensor_arg(),
            rows,
            stride,
            groups,
            p.eps as f32,
            layout,
            [dtype.into(), parameter.into()],
        );
    }

    let dweight = sum_rows(&partial, stride, p.channels, 0..p.channels, parameter);
    [dy, operand(dz, z_dtype), dweight]
}
