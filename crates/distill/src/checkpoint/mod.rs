//! Files and folders that are whole or absent: written beside, fsynced, renamed.
mod atomic;
mod steps;
mod tensors;

pub(crate) use atomic::sync_folder;
pub use atomic::{write_atomically, write_atomically_with};
pub(crate) use model::hex;
pub use steps::{Found, Origin, StageProgress, StepCheckpoint, StepCheckpoints, remove_steps};
pub use tensors::Tensors;
