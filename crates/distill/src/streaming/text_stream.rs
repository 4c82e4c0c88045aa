//! Tokens to text as they come.
use model::Tokenizer;

/// Turns tokens into text as they come, holding back characters whose bytes are not complete.
pub(crate) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens not yet written, after one that was: a decoder may treat the first token of a text differently.
    tokens: Vec<u32>,
    /// Bytes of the decoded `tokens` that are written.
    written: usize,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            tokens: Vec::new(),
            written: 0,
        }
    }

    /// The text that is certain now, if any.
    pub(crate) fn push(&mut self, token: u32) -> Option<String> {
        self.tokens.push(token);
        let text = self.tokenizer.decode_without_specials(&self.tokens);
        // An incomplete character decodes to this at the end; after four tokens it is not going to be completed.
        if text.ends_with('\u{fffd}') && self.tokens.len() < 6 {
            return None;
        }
        let piece = text.get(self.written..).map(str::to_owned);
        self.tokens = vec![token];
        self.written = self.tokenizer.decode_without_specials(&self.tokens).len();
        piece
    }

    /// What was held back.
    pub(crate) fn rest(&self) -> String {
        let text = self.tokenizer.decode_without_specials(&self.tokens);
        text.get(self.written..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streamed_text_equals_decoded_text_and_never_splits_a_character() {
        // Without merges every byte is a token, so each character beyond ASCII comes in pieces.
        let tokenizer = Tokenizer::train_bpe([""], 256, &[]).unwrap();
        let text = "na\u{ef}ve \u{1f44d}\u{1f3fd} \u{65e5}\u{672c}  end";
        let mut stream = TextStream::new(&tokenizer);
        let mut written = String::new();
        for token in tokenizer.encode(text) {
            let piece = stream.push(token).unwrap_or_default();
            assert!(!piece.contains('\u{fffd}'), "{piece:?} after {written:?}");
            written += &piece;
        }
        written += &stream.rest();
        assert_eq!(written, text);
    }

    #[test]
    fn bytes_that_never_become_a_character_are_written_at_last() {
        let tokenizer = Tokenizer::train_bpe([""], 256, &[]).unwrap();
        let ids = tokenizer.encode("\u{1f44d}");
        let mut stream = TextStream::new(&tokenizer);
        let mut written = String::new();
        for token in ids[..3].iter().chain(&tokenizer.encode("ok")) {
            written += &stream.push(*token).unwrap_or_default();
        }
        assert!(written.ends_with("ok"), "{written:?}");
        assert!(written.contains('\u{fffd}'));
    }
}
