//! Where things are in the one tensor of f32 that all kernels of a scan share: WebGPU grants a kernel seven tensors, so
//! small operands, chunk ends and parameter gradients lie in one, and where it is all that a device grants, states and
//! row gradients too.

use super::ScanConfig;
use super::place::{Place, read_states, write_states};
use cubecl::prelude::*;

/// First elements of the regions, and how the sequence is cut. Regions that a call has no use for are empty.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in crate::selective_scan) struct Regions {
    /// `[batch, seq]`, behind the rows of the parameters, `[d_inner, d_state + 2]`, which come first.
    pub resets: usize,
    /// State before the first step, `[batch, d_inner, d_state]`.
    pub initial: usize,
    /// Gradient of the last state, `[batch, d_inner, d_state]`.
    pub last: usize,
    /// What chunks leave for those that start from them: ends, then what is left of a state,
    /// `[2, batch, chunks, d_inner, d_state]`.
    pub links: usize,
    /// States that have no tensor of their own, `[batch, slots, d_inner, d_state]`.
    pub states: usize,
    /// Gradients of the parameters, `[batch * chunks, d_inner, d_state + 2]`.
    pub g_params: usize,
    /// Gradient of the first state, `[batch, d_inner, d_state]`.
    pub g_initial: usize,
    /// Gradients that have no tensor of their own: of `u`, `dt` and `z`, `[batch, seq, d_inner]`.
    pub gu: usize,
    /// Of `dt`.
    pub gdt: usize,
    /// Of `z`.
    pub gz: usize,
    /// Of `b` and `c`, `[batch, seq, ngroups * parts, d_state]`.
    pub gb: usize,
    /// Of `c`.
    pub gc: usize,
    /// States of a sequence that are kept.
    pub slots: usize,
    /// Chunks of a sequence.
    pub chunks: usize,
    /// Tiles of a chunk.
    pub tiles_per_chunk: usize,
}

impl Regions {
    /// As kernels take it.
    pub(in crate::selective_scan) fn launch<R: Runtime>(&self) -> RegionsLaunch<R> {
        RegionsLaunch::new(
            self.resets,
            self.initial,
            self.last,
            self.links,
            self.states,
            self.g_params,
            self.g_initial,
            self.gu,
            self.gdt,
            self.gz,
            self.gb,
            self.gc,
            self.slots,
            self.chunks,
            self.tiles_per_chunk,
        )
    }
}

/// Reads kept states, `at` from the first of them.
#[cube]
pub(super) fn read_kept(
    states: &ComptimeOption<Tensor<f32>>,
    memory: &Tensor<f32>,
    registers: &mut Array<f32>,
    place: &Place,
    at: usize,
    regions: &Regions,
    #[comptime] cfg: ScanConfig,
) {
    #[comptime]
    match &states {
        ComptimeOption::Some(states) => read_states(states, registers, place, at, cfg),
        ComptimeOption::None => read_states(memory, registers, place, regions.states + at, cfg),
    }
}

/// Writes what [`read_kept`] reads.
#[cube]
pub(super) fn write_kept(
    states: &mut ComptimeOption<Tensor<f32>>,
    memory: &mut Tensor<f32>,
    registers: &Array<f32>,
    place: &Place,
    at: usize,
    regions: &Regions,
    #[comptime] cfg: ScanConfig,
) {
    #[comptime]
    match states {
        ComptimeOption::Some(states) => write_states(states, registers, place, at, cfg),
        ComptimeOption::None => write_states(memory, registers, place, regions.states + at, cfg),
    }
}

/// Writes a vector of gradients, `at` from the first of them, to their tensor or to their region.
#[cube]
pub(super) fn write_row<F: Float, V: Size>(
    tensor: &mut ComptimeOption<Tensor<Vector<F, V>>>,
    memory: &mut Tensor<f32>,
    region: usize,
    at: usize,
    value: Vector<f32, V>,
) {
    #[comptime]
    match tensor {
        ComptimeOption::Some(tensor) => tensor[at / V::value()] = Vector::cast_from(value),
        ComptimeOption::None =>
        {
            #[unroll]
            for lane in 0..V::value() {
                memory[region + at + lane] = value[lane];
            }
        }
    }
}

/// Writes one gradient, as [`write_row`].
#[cube]
pub(super) fn write_one<P: Float>(
    tensor: &mut ComptimeOption<Tensor<P>>,
    memory: &mut Tensor<f32>,
    region: usize,
    at: usize,
    value: f32,
) {
    #[comptime]
    match tensor {
        ComptimeOption::Some(tensor) => tensor[at] = P::cast_from(value),
        ComptimeOption::None => memory[region + at] = value,
    }
}
