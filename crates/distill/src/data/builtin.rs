//! Data embedded in the binary: prompts and replies for the tiny teacher.

use super::{ReplyRecord, jsonl};

/// Lines of `generate-data`, packed; the file beside it says where they come from.
const REPLIES: &[u8] = include_bytes!("../../assets/tiny/replies.jsonl.gz");

/// Prompts with replies of the built-in data set.
///
/// # Errors
/// Only when the binary was built from a broken file.
pub fn replies() -> anyhow::Result<Vec<ReplyRecord>> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(REPLIES), &mut text)?;
    jsonl::parse(&text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_replies_parse() {
        let replies = super::replies().expect("parses");
        assert!(replies.len() >= 20);
        assert!(
            replies
                .iter()
                .all(|record| !record.prompt.is_empty() && !record.reply.is_empty())
        );
    }
}
