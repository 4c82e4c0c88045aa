//! The whole model against reference data and against its own laws.

mod fixtures;
mod golden;
mod golden_mixers;
mod laws;
