//! Where a stage stands, on disk: whole or absent, and checked by hashes when it is read.
mod steps;
mod tensors;

pub(crate) use model::hex;
pub use steps::{Found, Origin, StageProgress, StepCheckpoint, StepCheckpoints, remove_steps};
pub use tensors::Tensors;
