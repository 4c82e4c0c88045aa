//! Placeholder: filled in by a following commit.
