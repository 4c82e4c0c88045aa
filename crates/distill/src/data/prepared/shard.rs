//! One file of tokenised documents.
//!
//! All numbers are little endian. Header of 64 bytes: magic `SRPNSHRD`, version u32, kind u32, documents u64, tokens u64,
//! fingerprint of 32 bytes. Then the ids of all documents, u32 each; the token at which each document starts and the end of
//! the last, u64 each; one bit a token that says whether it is a target, lowest bit first; the sha256 of all before it.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{Kind, VERSION};
use crate::checkpoint::hex;
use crate::data::Example;
use crate::error::DistillError;

const MAGIC: &[u8; 8] = b"SRPNSHRD";
const HEADER: usize = 64;
const CHECKSUM: usize = 32;

fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Chat => 0,
        Kind::Text => 1,
        Kind::Preferences => 2,
    }
}

/// The bytes of a shard.
pub(super) fn encode(kind: Kind, fingerprint: &[u8; 32], documents: &[Example]) -> Vec<u8> {
    let tokens: usize = documents.iter().map(|document| document.ids.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER + 5 * tokens + 8 * documents.len() + CHECKSUM + 16);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind_number(kind).to_le_bytes());
    bytes.extend((documents.len() as u64).to_le_bytes());
    bytes.extend((tokens as u64).to_le_bytes());
    bytes.extend(fingerprint);
    for document in documents {
        bytes.extend(document.ids.iter().flat_map(|id| id.to_le_bytes()));
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

/// The documents in the bytes of the shard at `path`.
///
/// # Errors
/// [`DistillError::Malformed`] when the bytes are no shard of this kind and fingerprint, are cut short, or were changed.
pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    kind: Kind,
    fingerprint: &str,
) -> Result<Vec<Example>, DistillError> {
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
    let u32_at = |at: usize| u32::from_le_bytes(array(bytes, at));
    let u64_at = |at: usize| u64::from_le_bytes(array(bytes, at));
    check(
        u32_at(8) == VERSION,
        format!("version {}", u32_at(8)),
        format!("version {VERSION}"),
    )?;
    let (documents, tokens) = (u64_at(16), u64_at(24));
    let expected = HEADER as u128
        + 4 * u128::from(tokens)
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
    check(
        u32_at(12) == kind_number(kind) && hex(&bytes[32..HEADER]) == fingerprint,
        "a shard of other data".into(),
        "the one that the manifest beside it was written with".into(),
    )?;
    // Both fit: the file is larger.
    let (documents, tokens) = (documents as usize, tokens as usize);
    let offsets = HEADER + 4 * tokens;
    let bits = offsets + 8 * (documents + 1);
    let mut examples = Vec::with_capacity(documents);
    for document in 0..documents {
        let start = u64_at(offsets + 8 * document);
        let end = u64_at(offsets + 8 * (document + 1));
        check(
            start <= end && end <= tokens as u64,
            format!("document {document} from token {start} to {end}"),
            format!("rising offsets up to {tokens}"),
        )?;
        let range = start as usize..end as usize;
        examples.push(Example {
            ids: range.clone().map(|t| u32_at(HEADER + 4 * t)).collect(),
            targets: range
                .map(|t| bytes[bits + t / 8] >> (t % 8) & 1 == 1)
                .collect(),
        });
    }
    Ok(examples)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the size was checked against the header")
}
