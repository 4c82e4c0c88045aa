//! RMS norm: some units share a step, and several steps share a cube where they are short.

mod backward;
mod forward;

pub(super) use backward::rms_norm_backward;
pub(super) use forward::rms_norm_forward;
