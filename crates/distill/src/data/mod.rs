//! Training and evaluation data: prompts, teacher replies, chats, preference pairs and batches.

pub mod batch;
pub mod filter;
pub mod jsonl;
pub mod prompts;
mod words;

pub use batch::{Batch, BatchOrder, Example};
pub use filter::{Rejected, ReplyFilter};
pub use jsonl::ReplyRecord;
pub use prompts::{PromptKind, Prompts};
