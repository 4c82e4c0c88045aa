//! Text to token ids and back: byte-pair encoding from `tokenizer.json`, from GGUF metadata, or trained.

mod from_gguf;
mod splitting;
mod train;

pub(crate) use splitting::Splitting;

use std::panic::catch_unwind;
use std::path::Path;

use tokenizers::{AddedToken, ModelWrapper};

use crate::error::ModelError;
use crate::files;
use crate::load::read_file;

/// File name of a Hugging Face tokenizer.
const TOKENIZER_JSON: &str = "tokenizer.json";

/// A byte-pair tokenizer.
///
/// Special tokens are recognised only where the caller says so: [`Tokenizer::encode`] is for text
/// that people wrote, [`Tokenizer::encode_with_specials`] for text that the program wrote. Neither
/// adds a token of its own (no BOS).
///
/// ```
/// use model::Tokenizer;
/// let tokenizer = Tokenizer::train_bpe(["low lower lowest"], 300, &["<|end|>"])?;
/// let ids = tokenizer.encode("lower <|end|>");
/// assert_eq!(tokenizer.decode(&ids), "lower <|end|>");
/// assert!(!ids.contains(&tokenizer.token_id("<|end|>").unwrap()));
/// # Ok::<(), model::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Special tokens in the text are plain text.
    plain: tokenizers::Tokenizer,
    /// Special tokens in the text are recognised.
    special: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, given as a file or as the directory that holds it.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::Tokenizer`] when it is no tokenizer
    /// or not a byte-pair one.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push(TOKENIZER_JSON);
        }
        let bytes = read_file(&path)?;
        let name = path.display().to_string();
        // The library panics at some malformed decoders.
        let read = catch_unwind(|| tokenizers::Tokenizer::from_bytes(&bytes));
        let inner = read
            .map_err(|_| tokenizer_error(&name, "it is malformed where no parser expects it"))?
            .map_err(|source| tokenizer_error(&name, source.to_string()))?;
        Self::new(inner, &name)
    }

    /// Wraps a tokenizer after checking that encoding with it cannot fail.
    fn new(mut inner: tokenizers::Tokenizer, name: &str) -> Result<Self, ModelError> {
        let ModelWrapper::BPE(bpe) = inner.get_model() else {
            return Err(tokenizer_error(
                name,
                "its model is not BPE; use a Llama-family tokenizer",
            ));
        };
        if let Some(unknown) = bpe.get_unk_token()
            && inner.token_to_id(unknown).is_none()
        {
            let problem = format!("its unknown token `{unknown}` is not in the vocabulary");
            return Err(tokenizer_error(name, problem));
        }
        // Files may ask for truncation or padding, which would change what a caller gets silently.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| tokenizer_error(name, e.to_string()))?;
        let mut plain = inner.clone();
        plain.set_encode_special_tokens(true);
        let mut special = inner;
        special.set_encode_special_tokens(false);
        plain
            .encode_fast("Probe 1.", false)
            .map_err(|source| tokenizer_error(name, source.to_string()))?;
        Ok(Self { plain, special })
    }

    /// Token ids of `text`; special tokens in it are plain text, so no text can yield their ids.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let ids = encode_ids(&self.plain, text);
        // A vocabulary with a merge path to a special token could still build one: take it apart.
        if !ids.iter().any(|id| self.is_special(*id)) {
            return ids;
        }
        ids.into_iter()
            .flat_map(|id| self.without_special(id))
            .collect()
    }

    /// Token ids of `text`; special tokens in it are recognised. Not for text from a user.
    pub fn encode_with_specials(&self, text: &str) -> Vec<u32> {
        encode_ids(&self.special, text)
    }

    /// As [`Tokenizer::encode`], each id with the byte of `text` at which it starts.
    pub(crate) fn encode_with_offsets(&self, text: &str) -> Vec<(u32, usize)> {
        let encoding = self.plain.encode(text, false).expect(CANNOT_FAIL);
        let starts = encoding.get_offsets().iter().map(|(start, _)| *start);
        let pairs = encoding.get_ids().iter().copied().zip(starts);
        let pairs = pairs.flat_map(|(id, start)| {
            self.without_special(id)
                .into_iter()
                .map(move |piece| (piece, start))
        });
        pairs.collect()
    }

    /// Text of `ids`, special tokens written out. Unknown ids and broken UTF-8 become U+FFFD or nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.special.decode(ids, false).unwrap_or_default()
    }

    /// Text of `ids` without special tokens, for showing a reply.
    pub fn decode_without_specials(&self, ids: &[u32]) -> String {
        self.special.decode(ids, true).unwrap_or_default()
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.special.get_vocab_size(true)
    }

    /// The id of a token by its exact spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.special.token_to_id(token)
    }

    /// The spelling of a token in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.special.id_to_token(id)
    }

    /// Whether `id` is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self
            .special
            .get_added_vocabulary()
            .get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }

    /// The id of `token` if it is a special token, which plain text cannot yield.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        self.token_id(token).filter(|id| self.is_special(*id))
    }

    /// Writes `tokenizer.json`; `path` is the file, or the directory to put it in.
    ///
    /// # Errors
    /// [`ModelError::File`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push(TOKENIZER_JSON);
        }
        let json = self.to_json()?;
        Ok(files::write(&path, json.as_bytes())?)
    }

    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, ModelError> {
        let json = self.special.to_string(true);
        json.map_err(|source| tokenizer_error("the tokenizer", source.to_string()))
    }

    /// `id`, or the tokens of its single characters when it is special.
    fn without_special(&self, id: u32) -> Vec<u32> {
        if !self.is_special(id) {
            return vec![id];
        }
        let text = self.token(id).unwrap_or_default();
        let pieces = text
            .chars()
            .flat_map(|c| encode_ids(&self.plain, c.encode_utf8(&mut [0; 4])));
        pieces.filter(|piece| !self.is_special(*piece)).collect()
    }
}

const CANNOT_FAIL: &str = "BPE whose unknown token exists: checked in Tokenizer::new";

fn encode_ids(inner: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    inner
        .encode_fast(text, false)
        .expect(CANNOT_FAIL)
        .get_ids()
        .to_vec()
}

fn special_token(content: &str) -> AddedToken {
    AddedToken::from(content, true).normalized(false)
}

fn tokenizer_error(name: &str, problem: impl Into<String>) -> ModelError {
    ModelError::Tokenizer {
        name: name.to_string(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
