//! Recipe table `[teacher_cache]`, and the caches as they will be.
use serde::{Deserialize, Serialize};

/// `[teacher_cache]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherCacheTable {
    /// Likeliest tokens that are kept of each label (64).
    pub k: Option<usize>,
}

/// What the teacher says of the training data, kept in the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherCachePlan {
    /// Likeliest tokens that are kept of each label; all of them where the vocabulary has no more.
    pub k: usize,
}
