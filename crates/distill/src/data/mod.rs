//! Training and evaluation data: prompts, teacher replies, chats, preference pairs, text and batches.

pub mod batch;
pub mod brown;
pub mod builtin;
pub mod chat;
mod datasets;
mod example;
mod example_set;
pub mod filter;
pub mod jsonl;
pub mod packing;
mod parquet;
pub mod preference;
pub mod prepared;
pub mod prompts;
mod pseudo_labels;
pub(crate) mod records;
pub(crate) mod repeats;
mod sealed_lines;
mod split;
pub mod task_files;
pub mod task_sources;
pub mod text;
pub mod token_ids;
// One word a line would be hundreds of lines.
#[rustfmt::skip]
mod words;

pub use batch::{Batch, BatchOrder, OrderPosition, RowLength};
pub use chat::Chat;
pub use datasets::{Datasets, build};
pub use example::Example;
pub use example_set::{ExampleSet, PairSet};
pub use filter::{Rejected, ReplyFilter};
pub use jsonl::ReplyRecord;
pub use packing::pack;
pub use preference::{Preference, PreferenceExample};
pub use prompts::{PromptKind, Prompts};
pub use pseudo_labels::{PseudoLabelPlan, pseudo_labels};
pub use repeats::Repeats;
use split::split;
