//! The backend whose own implementations are under test, and the way to and from it.

pub(crate) use crate::self_test::host::{download, upload};

/// CubeCL kernels on CUDA where that feature is on, behind burn-fusion where that one is.
#[cfg(feature = "cuda")]
pub(crate) type Subject = burn::backend::Cuda;

/// CubeCL kernels on wgpu where that feature is on (on lavapipe if there is no GPU).
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
pub(crate) type Subject = burn::backend::Wgpu;

/// Host loops otherwise.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) type Subject = burn_flex::Flex;
