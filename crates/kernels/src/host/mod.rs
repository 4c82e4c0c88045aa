//! Building blocks of the CPU loops: lanes, small matrix products, shared output, tensor access.

pub(crate) mod dispatch;
pub(crate) mod gemm;
pub(crate) mod lanes;
pub(crate) mod output;
pub(crate) mod tasks;
pub(crate) mod tensor;
