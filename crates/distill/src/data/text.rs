//! Plain text as windows of tokens.

use std::path::Path;

use model::Tokenizer;

use super::{Example, jsonl};

/// Cuts a text file into disjoint windows of `seq_len` tokens, all of them targets; a rest shorter than half a window is
/// dropped.
///
/// # Errors
/// When the file cannot be read.
pub fn windows(path: &Path, tokenizer: &Tokenizer, seq_len: usize) -> anyhow::Result<Vec<Example>> {
    let ids = tokenizer.encode(&jsonl::read_text(path)?);
    Ok(cut(&ids, seq_len))
}

/// As [`windows`], of tokens.
pub fn cut(ids: &[u32], seq_len: usize) -> Vec<Example> {
    ids.chunks(seq_len.max(2))
        .filter(|window| window.len() * 2 >= seq_len && window.len() >= 2)
        .map(|window| Example {
            ids: window.to_vec(),
            targets: vec![true; window.len()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_disjoint_and_a_short_rest_is_dropped() {
        let ids: Vec<u32> = (0..23).collect();
        let lengths: Vec<_> = cut(&ids, 10)
            .iter()
            .map(|window| window.ids.len())
            .collect();
        assert_eq!(lengths, [10, 10]);
        let lengths: Vec<_> = cut(&ids[..15], 10)
            .iter()
            .map(|window| window.ids.len())
            .collect();
        assert_eq!(lengths, [10, 5]);
        assert_eq!(cut(&ids, 10)[1].ids[0], 10);
    }
}
