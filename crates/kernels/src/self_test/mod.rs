//! Tests that a program can run on the device that it is on: each operation, forward and backward,
//! against its definition in f64 and against golden values of other implementations.
//!
//! The unit tests of this crate run the same cases.

pub(crate) mod compare;
pub(crate) mod golden;
pub(crate) mod host;
pub(crate) mod mixer;
pub(crate) mod products;
mod run;
pub(crate) mod single_output;
pub(crate) mod state_space;
pub(crate) mod tape;

pub use compare::{CaseCheck, F32_GRADIENT_TOLERANCE, F32_TOLERANCE, TensorCheck};
pub use golden::{GoldenError, HostTensor, Tensors};
pub use products::product_error;
pub use run::{check_cases, check_golden};
