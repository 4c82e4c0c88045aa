//! SmolLM2-135M-Instruct against values made outside this project (`tests/fixtures/smollm2`).
//!
//! The weights are not in the repository. Without them each test prints how to fetch them and passes.

mod files;
mod forward;
mod tensors;
mod tokenizer;
