//! Recipe tables `[data]` and `[eval]`.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the rows of a batch are padded to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PadTo {
    /// The longest sequence of the batch: least work.
    #[default]
    Longest,
    /// `seq_len`: one set of shapes, so that a GPU compiles and tunes once.
    SeqLen,
}

/// How conversations and text share the rows of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One a row, padded.
    #[default]
    None,
    /// Several a row of `seq_len` tokens, each as if it ran alone.
    Exact,
    /// Several a row of `seq_len` tokens; state and attention leak from one to the next (published).
    Published,
}

/// `[data]`: either `source`, or `prepared`, or files.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// `builtin:tiny`.
    pub source: Option<String>,
    /// Folder of `distill data prepare`, in place of all files.
    pub prepared: Option<PathBuf>,
    /// Conversations: Parquet, JSON or JSON lines, `messages`, or `instruction`/`input`/`output` records.
    #[serde(default)]
    pub chat: Vec<PathBuf>,
    /// Text: UTF-8 files, or Parquet, JSON or JSON lines with a `text` in each row.
    #[serde(default)]
    pub text: Vec<PathBuf>,
    /// Preference pairs: Parquet, JSON or JSON lines with `chosen` and `rejected`.
    #[serde(default)]
    pub preferences: Vec<PathBuf>,
    /// Longest sequence, tokens.
    pub seq_len: usize,
    /// What batches are padded to: `longest` sequence of the batch (default), or `seq-len`.
    pub pad_to: Option<PadTo>,
    /// `none` (default), `exact` or `published`: how conversations and text share the rows of distillation and SFT.
    pub packing: Option<Packing>,
    /// Prompts that the teacher answers before stage 1 (0).
    pub pseudo_labels: Option<usize>,
    /// Most tokens of such an answer (128).
    pub pseudo_label_tokens: Option<usize>,
    /// Sampling temperature of such an answer (0.7); 0 is greedy.
    pub pseudo_label_temperature: Option<f64>,
    /// Prompts that are answered together (64).
    pub pseudo_label_batch: Option<usize>,
    /// Prompts to answer beside those of the data, from the templates of `generate-data` (0).
    pub template_prompts: Option<usize>,
    /// Share of the examples kept for evaluation (0.1).
    pub eval_share: Option<f64>,
}

/// `[eval]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvalTable {
    /// Held-out sequences for perplexity (64).
    pub perplexity_sequences: Option<usize>,
    /// Synthetic tasks of each kind (64).
    pub task_examples: Option<usize>,
    /// Tokens of the decode speed measurement (64).
    pub speed_tokens: Option<usize>,
    /// Held-out prompts that teacher and student answer after each stage, to be read (2).
    pub samples: Option<usize>,
    /// Most times the teacher's perplexity that the last checkpoint of every ratio may have, by the upper end of a 95 % interval
    /// (none).
    pub gate: Option<f64>,
}
