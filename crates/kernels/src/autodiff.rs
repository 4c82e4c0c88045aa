//! Differentiable operations on burn's tape.

use crate::backend::SsmBackend;
use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};

impl<B: SsmBackend, C: CheckpointStrategy> SsmBackend for Autodiff<B, C> {}
