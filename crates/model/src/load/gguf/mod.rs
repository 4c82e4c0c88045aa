//! GGUF files: header, dequantisation, and Llama models in Hugging Face names and row order.

mod dequant;
mod header;

pub use dequant::TensorType;
pub use header::{GgufFile, TensorInfo, Value};
