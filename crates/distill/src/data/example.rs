//! One tokenised sequence, and which of its tokens are learned.

use super::repeats::{Key, key_of_tokens};

/// One tokenised training sequence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// One flag a token: whether the model is trained to produce it.
    pub targets: Vec<bool>,
}

impl Example {
    /// Cuts to at most `seq_len` tokens; `None` when fewer than two tokens or no target remains.
    pub fn truncated(mut self, seq_len: usize) -> Option<Self> {
        self.ids.truncate(seq_len);
        self.targets.truncate(seq_len);
        (self.ids.len() >= 2 && self.targets.iter().skip(1).any(|target| *target)).then_some(self)
    }

    /// Hashes of what comes before the last reply, and of all of it.
    pub(crate) fn keys(&self) -> (Key, Key) {
        let (prompt, _) = self.last_reply();
        let key = |ids: &[u32]| key_of_tokens(ids.iter().copied());
        (key(prompt), key(&self.ids))
    }

    /// What comes before the last reply, and the reply with the token that ends it; for a text nothing and all of it.
    pub(crate) fn last_reply(&self) -> (&[u32], &[u32]) {
        let end = self.targets.iter().rposition(|target| *target);
        let end = end.unwrap_or(0);
        let start = self.targets[..end].iter().rposition(|target| !*target);
        let start = start.map_or(0, |last| last + 1);
        (&self.ids[..start], &self.ids[start..=end])
    }

    /// Tokens scored: targets with a token before them.
    pub fn target_count(&self) -> usize {
        self.targets
            .iter()
            .skip(1)
            .filter(|target| **target)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_without_a_target_is_dropped() {
        let example = || Example {
            ids: (1..=5).collect(),
            targets: (0..5).map(|t| t >= 2).collect(),
        };
        assert_eq!(example().truncated(2), None);
        assert_eq!(
            example().truncated(4).map(|example| example.target_count()),
            Some(2)
        );
    }

    #[test]
    fn the_prompt_of_a_document_ends_where_its_last_reply_starts() {
        let document = |ids: [u32; 7], targets: [u8; 7]| Example {
            ids: ids.to_vec(),
            targets: targets.map(|target| target == 1).to_vec(),
        };
        let first = document([1, 2, 3, 4, 5, 6, 7], [0, 1, 0, 0, 1, 1, 0]);
        let other_reply = document([1, 2, 3, 4, 8, 9, 7], [0, 1, 0, 0, 1, 1, 0]);
        let other_prompt = document([1, 2, 3, 9, 5, 6, 7], [0, 1, 0, 0, 1, 1, 0]);
        assert_eq!(first.last_reply(), (&[1, 2, 3, 4][..], &[5, 6][..]));
        assert_eq!(first.keys().0, key_of_tokens([1, 2, 3, 4]));
        assert_eq!(first.keys().0, other_reply.keys().0);
        assert_ne!(first.keys().1, other_reply.keys().1);
        assert_ne!(first.keys().0, other_prompt.keys().0);
    }
}
