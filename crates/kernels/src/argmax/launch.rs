//! Launch of the CubeCL kernel.

use super::kernel::argmax_rows;
use crate::cube::tensor::{array, as_it_is, empty, halving_units, vector_size};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Most units of a cube.
const UNITS: usize = 1024;
/// Bytes that one load moves.
const LOAD_BYTES: usize = 16;

/// [`argmax`](super::argmax()) on primitives; ids are of type `ids`.
pub(crate) fn forward<R: CubeRuntime>(logits: CubeTensor<R>, ids: DType) -> CubeTensor<R> {
    let dtype = logits.dtype;
    let logits = as_it_is(logits);
    let client = logits.client.clone();
    let [rows, vocab] = [logits.meta.shape()[0], logits.meta.shape()[1]];
    let wide = vector_size(&logits, vocab, LOAD_BYTES / dtype.size());
    let units = halving_units(&logits, UNITS);
    let out = empty(&logits, [rows, 1], ids);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        argmax_rows::launch_unchecked::<R>(
            &client,
            CubeCount::Static(rows as u32, 1, 1),
            CubeDim::new_1d(units as u32),
            wide,
            array(logits),
            array(out.clone()),
            vocab / wide,
            units,
            [dtype.into(), ids.into()],
        );
    }
    out
}
