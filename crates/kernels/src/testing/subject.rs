//! The backend whose own implementations are under test, and the way to and from it.

pub(crate) use crate::self_test::host::{download, upload};

/// CubeCL kernels on CUDA where that feature is on, behind burn-fusion where that one is.
#[cfg(feature = "cuda")]
pub(crate) type Subject = burn::backend::Cuda;

/// CubeCL kernels on wgpu where that feature is on (on lavapipe if there is no GPU); never behind burn-fusion, which has tests
/// of its own, so that one build serves both.
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
pub(crate) type Subject = burn_cubecl::CubeBackend<cubecl::wgpu::WgpuRuntime, f32, i32, u32>;

/// Host loops otherwise.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(crate) type Subject = burn_flex::Flex;
