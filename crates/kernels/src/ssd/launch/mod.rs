//! Launches of the CubeCL kernels.

mod backward;
mod cooperative;
mod forward;
mod run;

pub(crate) use backward::backward;
pub(crate) use forward::forward;
pub(crate) use run::saved;
