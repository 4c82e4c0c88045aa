//! Files in, models out.

pub mod gguf;
