//! Training losses: cross-entropy, divergences from the teacher and direct preference optimisation (method, section 4.3).
//!
//! Sums are weighted on the host so that adding up the micro-batches of a step gives exactly the mean of the whole step.
//! Logits are made from hidden states a block of rows at a time ([`HeadRows`]).

pub mod cached_top_k;
pub mod distillation;
pub mod divergence;
pub mod dpo;
pub mod fused;
pub mod head;
pub mod label_log_probs;
pub mod rows;
pub mod targets;
pub mod top_k;
pub mod total;

pub use kernels::cross_entropy_kl::Distribution;

pub use cached_top_k::{CachedTopK, TeacherRows};
pub use distillation::{DistillationLoss, distillation_loss, loss_beside, teacher_rows};
pub use divergence::{DivergenceParts, divergence};
pub use dpo::{DpoLoss, PairValues, dpo_loss, sequence_log_probs, sequence_log_probs_tracked};
pub use fused::fused_loss;
pub use head::HeadRows;
pub use label_log_probs::{label_log_probs, label_log_probs_tracked};
pub use rows::RowIndex;
pub use targets::{Denominators, Targets};
pub use total::total;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod packed;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod unscored;
