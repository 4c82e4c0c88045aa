//! The one place that turns a cargo feature into a backend type.
//!
//! One binary holds one backend: burn's generic code is compiled again for each, which costs minutes and megabytes.
mod driver;
mod probe;

pub use driver::drivers;
pub use probe::probe;

use crate::error::DistillError;

#[cfg(feature = "cuda")]
mod compiled {
    pub type InnerBackend = burn::backend::Cuda;
    pub const NAME: &str = "cuda";
}
#[cfg(all(feature = "rocm", not(feature = "cuda")))]
mod compiled {
    pub type InnerBackend = burn::backend::Rocm;
    pub const NAME: &str = "rocm";
}
#[cfg(all(feature = "wgpu", not(any(feature = "cuda", feature = "rocm"))))]
mod compiled {
    pub type InnerBackend = burn::backend::Wgpu;
    pub const NAME: &str = "wgpu";
}
#[cfg(all(
    feature = "tch",
    not(any(feature = "cuda", feature = "rocm", feature = "wgpu"))
))]
mod compiled {
    pub type InnerBackend = burn::backend::LibTorch;
    pub const NAME: &str = "tch";
}
#[cfg(not(any(feature = "cuda", feature = "rocm", feature = "wgpu", feature = "tch")))]
mod compiled {
    pub type InnerBackend = burn::backend::Flex;
    pub const NAME: &str = "flex";
}

/// The backend of this binary without a tape: teacher, evaluation, generation.
pub type InnerBackend = compiled::InnerBackend;
/// The backend of this binary with a tape: the student in training.
pub type TrainBackend = burn::backend::Autodiff<InnerBackend>;
/// Device of [`InnerBackend`].
pub type Device = burn::tensor::Device<InnerBackend>;

/// Name of the compiled backend: `cuda`, `rocm`, `wgpu`, `tch` or `flex`, the first that is a cargo feature.
pub const NAME: &str = compiled::NAME;

/// Cargo features that this binary was built with.
pub fn features() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda", cfg!(feature = "cuda")),
        ("rocm", cfg!(feature = "rocm")),
        ("tch", cfg!(feature = "tch")),
        ("autotune", cfg!(feature = "autotune")),
        ("fusion", cfg!(feature = "fusion")),
    ];
    all.into_iter()
        .filter_map(|(name, is_on)| is_on.then_some(name))
        .collect()
}

/// Whether tensors are in the host's memory, behind its caches.
pub const IS_HOST: bool = cfg!(not(any(
    feature = "cuda",
    feature = "rocm",
    feature = "wgpu",
    feature = "tch"
)));

/// Checks that `--backend` names what was compiled and returns the default device.
///
/// # Errors
/// [`DistillError::Backend`] when another backend was asked for.
pub fn device(wanted: Option<&str>) -> Result<Device, DistillError> {
    match wanted {
        Some(wanted) if wanted != NAME => Err(DistillError::Backend {
            wanted: wanted.into(),
            compiled: NAME,
        }),
        _ => {
            #[cfg(any(feature = "cuda", feature = "rocm", feature = "wgpu"))]
            kernels::keep_compiled_kernels();
            Ok(Device::default())
        }
    }
}
