//! The whole model against reference data and against its own laws.

mod biases;
mod checkpointed;
mod conversion;
pub(crate) mod fixtures;
mod golden;
mod golden_mixers;
pub(crate) mod laws;
mod mixed_precision;
mod naive;
mod naive_gradients;
mod named;
mod packing;
mod quantized;
mod rewinding;
mod teachers;
mod windows;
