//! Training and evaluation data: prompts, teacher replies, chats, preference pairs and batches.

pub mod batch;
pub mod brown;
pub mod filter;
pub mod jsonl;
pub mod prompts;
mod words;

pub use batch::{Batch, BatchOrder, Example};
pub use brown::brown_text;
pub use filter::{Rejected, ReplyFilter};
pub use jsonl::ReplyRecord;
pub use prompts::{PromptKind, Prompts};
