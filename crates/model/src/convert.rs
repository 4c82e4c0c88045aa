//! From attention to SSM: which layers, and with which weights.

pub(crate) mod init;
mod layer_plan;
mod weights;

pub use layer_plan::{LayerPlan, Layout};
