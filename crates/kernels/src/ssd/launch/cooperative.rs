//! Launches on matrix units, where the device has them for the operands' type.

use super::super::kernel::{
    CooperativeMix, LANES, Mix, TILE, cooperative_bytes, ssd_chunk_states_cooperative,
    ssd_mix_cooperative,
};
use super::run::Run;
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::features::{MmaConfig, Plane};
use cubecl::ir::{ElemType, FloatKind, StorageType};
use cubecl::prelude::*;

/// Units of a cube: four planes.
const UNITS: u32 = 128;
/// Elements of a result that a unit writes at once.
const PAIR: usize = 2;

impl<R: CubeRuntime> Run<'_, R> {
    /// Whether the kernels on matrix units can serve this call.
    pub(super) fn is_cooperative(&self) -> bool {
        if !matches!(self.dtype, DType::F16 | DType::BF16) {
            return false;
        }
        let (element, p) = (StorageType::from(self.dtype), self.p);
        let properties = self.client.properties();
        let hardware = &properties.hardware;
        let config = MmaConfig {
            a_type: element,
            b_type: element,
            cd_type: ElemType::Float(FloatKind::F32).into(),
            m: 16,
            n: 8,
            k: 16,
        };
        let fits = |width: usize| width.is_multiple_of(16) && width <= 256;
        let bytes = cooperative_bytes(p.headdim, p.d_state);
        let matmul = &properties.features.matmul;
        matmul.mma.contains(&config)
            && matmul.ldmatrix.contains(&element)
            && properties.features.plane.contains(Plane::Ops)
            && properties.features.plane.contains(Plane::Sync)
            && (hardware.plane_size_min, hardware.plane_size_max) == (32, 32)
            && fits(p.headdim)
            && fits(p.d_state)
            && bytes <= hardware.max_shared_memory_size
    }

    /// What each chunk adds to the state after it or, not `leaving`, to the gradient of the one before; `exact`
    /// multiplies the rounding errors of the weighted factor too.
    pub(super) fn chunk_states_cooperative(
        &self,
        [left, right, states]: [&CubeTensor<R>; 3],
        leaving: bool,
        exact: bool,
    ) {
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_chunk_states_cooperative::launch_unchecked::<R>(
                &self.client,
                self.cubes_of_chunks(self.x_tiles),
                CubeDim::new_1d(UNITS),
                LANES,
                PAIR,
                left.clone().into_tensor_arg(),
                right.clone().into_tensor_arg(),
                self.scratch.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                self.sizes(),
                leaving,
                exact,
                self.p.d_state,
                self.dtype.into(),
            );
        }
    }

    /// One of the four uses of the mixing kernel, into `out`.
    pub(super) fn mix_cooperative(
        &self,
        [query, key, value, own, states, out]: [&CubeTensor<R>; 6],
        [dots_plane, skip_plane]: [usize; 2],
        mix: Mix,
    ) {
        let p = self.p;
        let (streams, inner, width) = match mix.into_heads {
            true => (p.nheads, p.d_state, p.headdim),
            false => (p.ngroups, p.headdim, p.d_state),
        };
        let cubes = p.batch * p.seq.div_ceil(TILE);
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_mix_cooperative::launch_unchecked::<R>(
                &self.client,
                CubeCount::Static(cubes as u32, streams as u32, 1),
                CubeDim::new_1d(UNITS),
                LANES,
                PAIR,
                query.clone().into_tensor_arg(),
                key.clone().into_tensor_arg(),
                value.clone().into_tensor_arg(),
                own.clone().into_tensor_arg(),
                value.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                self.scratch.clone().into_tensor_arg(),
                out.clone().into_tensor_arg(),
                self.sizes(),
                dots_plane,
                skip_plane,
                CooperativeMix { mix, inner, width },
                self.dtype.into(),
            );
        }
    }
}
