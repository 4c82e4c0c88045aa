//! State-space operations for burn: what a Mamba block needs beyond ordinary tensor operations.

mod activation;
mod autodiff;
mod backend;
pub mod causal_conv1d;
#[cfg(feature = "cube")]
mod cube;
mod error;
#[cfg(feature = "flex")]
mod flex;
pub mod gated_rms_norm;
#[cfg(feature = "flex")]
mod host;
mod primitive;
pub mod selective_scan;
pub mod ssd;
#[cfg(feature = "tch")]
mod tch;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backend::{SsmBackend, StateSpaceOutput};
pub use causal_conv1d::{CausalConv1dInputs, CausalConv1dOutput, causal_conv1d};
pub use error::KernelError;
pub use gated_rms_norm::gated_rms_norm;
pub use selective_scan::{SelectiveScanInputs, SelectiveScanOutput, selective_scan};
pub use ssd::{SsdInputs, SsdOptions, SsdOutput, ssd};
