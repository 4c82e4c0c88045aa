//! GGUF files: header, dequantisation, and Llama models in Hugging Face names and row order.

mod dequant;
mod header;
mod llama;
mod reader;

pub use dequant::TensorType;
pub use header::{GgufFile, TensorInfo, Value};
pub(crate) use llama::{LAYER_KEYS, MODEL_KEYS};
pub use llama::{llama_config, llama_tensors, load_llama};

#[cfg(test)]
mod tests;
