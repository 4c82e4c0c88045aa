//! Launches of the CubeCL kernels.

mod backward;
mod forward;
mod run;

pub(crate) use backward::backward;
pub(crate) use forward::forward;
