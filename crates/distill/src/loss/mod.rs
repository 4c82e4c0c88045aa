//! Training losses: cross-entropy, forward KL and direct preference optimisation (method, section 4.3).
//!
//! Sums are weighted on the host so that adding up the micro-batches of a step gives exactly the mean of the whole step.

pub mod cross_entropy;
pub mod distillation;
pub mod dpo;
pub mod kl;
pub mod rows;
pub mod targets;

pub use cross_entropy::{cross_entropy, label_log_probs};
pub use distillation::{DistillationLoss, distillation_loss};
pub use dpo::{DpoLoss, dpo_loss, sequence_log_probs};
pub use kl::{forward_kl, kl_per_row};
pub use rows::RowIndex;
pub use targets::{Denominators, Targets};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod packed;
