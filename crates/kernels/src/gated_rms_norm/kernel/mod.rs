//! Gated norm: a few units share a group of one row, and several groups share a cube.

mod backward;
mod forward;

pub(super) use backward::gated_rms_norm_backward;
pub(super) use forward::gated_rms_norm_forward;
