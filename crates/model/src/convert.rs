//! From attention to SSM: which layers, and with which weights.

mod graft;
pub(crate) mod init;
mod layer_plan;
mod shrink;
mod start;
mod weights;

pub use layer_plan::{LayerPlan, Layout};
pub use shrink::spread_layers;
pub use start::StartOption;
