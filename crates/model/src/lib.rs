//! Llama teachers and Mamba/attention hybrids: hold, convert, load, run.
#![forbid(unsafe_code)]

mod cache;
mod chat_template;
mod checkpointed;
mod config;
mod convert;
pub mod decode;
mod documents;
mod error;
pub mod export;
pub mod files;
mod hash;
mod hybrid;
mod layer;
pub mod load;
mod mixer;
mod mlp;
mod params;
mod rope;
mod tokenizer;

pub use cache::{
    Cache, KvCache, LayerCache, Mark, SsmState, decode_state_bytes, verify_state_bytes,
};
pub use chat_template::{ChatTemplate, Conversation, EncodedChat, JinjaTemplate, Message, Role};
pub use checkpointed::{CheckpointedBlocks, TrainingPass};
pub use config::{
    GqaRepeat, HybridConfig, InitFrom, LlamaConfig, MixerKind, RopeScaling, SsmConfig,
};
pub use convert::{LayerPlan, Layout, StartOption, spread_layers};
pub use decode::{Finish, Reply, Sampling, generate_batch};
pub use documents::Documents;
pub use error::ModelError;
pub use hash::hex;
pub use hybrid::{BlockOutput, HybridModel};
pub use load::load;
pub use tokenizer::Tokenizer;

#[cfg(test)]
mod tests;
