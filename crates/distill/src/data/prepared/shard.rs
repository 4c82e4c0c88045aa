//! One file of tokenised documents.
//!
//! All numbers are little endian. Header of 64 bytes: magic `SRPNSHRD`, version u32, kind u16, bytes of an id u16 (2, or 4 where an
//! id needs it), documents u64, tokens u64, fingerprint of 32 bytes. Then the ids of all documents; the token at which each
//! document starts and the end of the last, u64 each; one bit a token that says whether it is a target, lowest bit first; the
//! sha256 of all before it.

use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{Kind, VERSION};
use crate::checkpoint::hex;
use crate::data::Example;
use crate::error::DistillError;

const MAGIC: &[u8; 8] = b"SRPNSHRD";
const HEADER: usize = 64;
const CHECKSUM: usize = 32;

fn kind_number(kind: Kind) -> u16 {
    match kind {
        Kind::Chat => 0,
        Kind::Text => 1,
        Kind::Preferences => 2,
    }
}

/// The bytes of a shard.
pub(super) fn encode(kind: Kind, fingerprint: &[u8; 32], documents: &[Example]) -> Vec<u8> {
    let ids = || documents.iter().flat_map(|document| &document.ids);
    let tokens = ids().count();
    let is_short = ids().all(|id| u16::try_from(*id).is_ok());
    let id_bytes: u16 = if is_short { 2 } else { 4 };
    let size = HEADER + (usize::from(id_bytes) + 1) * tokens + 8 * documents.len();
    let mut bytes = Vec::with_capacity(size + CHECKSUM + 16);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind_number(kind).to_le_bytes());
    bytes.extend(id_bytes.to_le_bytes());
    bytes.extend((documents.len() as u64).to_le_bytes());
    bytes.extend((tokens as u64).to_le_bytes());
    bytes.extend(fingerprint);
    for id in ids() {
        bytes.extend(&id.to_le_bytes()[..usize::from(id_bytes)]);
    }
    let mut offset = 0u64;
    bytes.extend(offset.to_le_bytes());
    for document in documents {
        offset += document.ids.len() as u64;
        bytes.extend(offset.to_le_bytes());
    }
    let targets: Vec<bool> = documents
        .iter()
        .flat_map(|document| document.targets.iter().copied())
        .collect();
    bytes.extend(targets.chunks(8).map(|bits| {
        let bits = bits.iter().enumerate();
        bits.fold(0u8, |byte, (bit, target)| byte | (u8::from(*target) << bit))
    }));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

/// Where things are in the bytes of a shard that were found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    documents: usize,
    tokens: usize,
    id_bytes: usize,
}

impl Layout {
    /// The layout of the bytes of the shard at `path`; all of them are looked at.
    ///
    /// # Errors
    /// [`DistillError::Malformed`] when they are no shard of this kind and fingerprint, are cut short, or were changed.
    pub fn check(
        path: &Path,
        bytes: &[u8],
        kind: Kind,
        fingerprint: &str,
    ) -> Result<Self, DistillError> {
        let check = |is_right: bool, found: String, expected: String| {
            if is_right {
                return Ok(());
            }
            Err(DistillError::Malformed {
                path: path.into(),
                found,
                expected: format!("{expected} (prepare the data again)"),
            })
        };
        let is_shard = bytes.len() >= HEADER + CHECKSUM && bytes.starts_with(MAGIC);
        let size = bytes.len();
        check(
            is_shard,
            format!("{size} bytes that are no shard"),
            "a shard of `distill data prepare`".into(),
        )?;
        let version = u32::from_le_bytes(array(bytes, 8));
        check(
            version == VERSION,
            format!("version {version}"),
            format!("version {VERSION}"),
        )?;
        let id_bytes = u16::from_le_bytes(array(bytes, 14));
        check(
            matches!(id_bytes, 2 | 4),
            format!("ids of {id_bytes} bytes"),
            "ids of 2 or 4".into(),
        )?;
        let (documents, tokens) = (u64_at(bytes, 16), u64_at(bytes, 24));
        let expected = HEADER as u128
            + u128::from(id_bytes) * u128::from(tokens)
            + 8 * (u128::from(documents) + 1)
            + u128::from(tokens.div_ceil(8))
            + CHECKSUM as u128;
        check(
            expected == size as u128,
            format!("{size} bytes"),
            format!("{expected} bytes by its header"),
        )?;
        let (content, checksum) = bytes.split_at(size - CHECKSUM);
        let found = Sha256::digest(content);
        check(
            found.as_slice() == checksum,
            format!("content with sha256 {}", hex(&found)),
            format!("{}: the file was changed or damaged", hex(checksum)),
        )?;
        let found_kind = u16::from_le_bytes(array(bytes, 12));
        check(
            found_kind == kind_number(kind) && hex(&bytes[32..HEADER]) == fingerprint,
            "a shard of other data".into(),
            "the one that the manifest beside it was written with".into(),
        )?;
        let layout = Self {
            // Both fit: the file is larger.
            documents: documents as usize,
            tokens: tokens as usize,
            id_bytes: id_bytes.into(),
        };
        for document in 0..layout.documents {
            let (start, end) = layout.bounds(bytes, document);
            check(
                start <= end && end <= tokens,
                format!("document {document} from token {start} to {end}"),
                format!("rising offsets up to {tokens}"),
            )?;
        }
        Ok(layout)
    }

    /// Documents.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// The tokens of a document, as places in the shard.
    pub fn document(&self, bytes: &[u8], document: usize) -> Range<usize> {
        let (start, end) = self.bounds(bytes, document);
        start as usize..end as usize
    }

    /// Some of the tokens.
    pub fn example(&self, bytes: &[u8], tokens: Range<usize>) -> Example {
        let ids = &bytes[self.id_at(tokens.start)..self.id_at(tokens.end)];
        let bits = &bytes[self.offsets() + 8 * (self.documents + 1)..];
        Example {
            ids: ids.chunks_exact(self.id_bytes).map(id).collect(),
            targets: tokens.map(|t| bits[t / 8] >> (t % 8) & 1 == 1).collect(),
        }
    }

    fn bounds(&self, bytes: &[u8], document: usize) -> (u64, u64) {
        let at = self.offsets() + 8 * document;
        (u64_at(bytes, at), u64_at(bytes, at + 8))
    }

    fn id_at(&self, token: usize) -> usize {
        HEADER + self.id_bytes * token
    }

    fn offsets(&self) -> usize {
        self.id_at(self.tokens)
    }
}

/// An id of 2 or 4 bytes.
fn id(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |id, byte| id << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the size was checked against the header")
}
