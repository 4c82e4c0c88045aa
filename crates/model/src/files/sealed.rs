//! JSON files that carry their own checksum.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::hash::hex;

/// Between an object's last field and the digits.
const FIELD: &str = ",\n  \"sha256\": \"";
/// After the digits.
const END: &str = "\"\n}\n";

/// Why a sealed file is not what was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not JSON, or not of the type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Other bytes than were written.
    #[error("`sha256` is {expected}, but the rest has {found}")]
    Checksum {
        /// Hash of the bytes found
        found: String,
        /// What the file says
        expected: String,
    },
}

/// `value` as indented JSON whose last field is `sha256`, the hash of every byte before its digits.
///
/// # Panics
/// When `value` is no JSON object with at least one field.
pub fn seal(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string_pretty(value).expect("our own types have only string keys");
    let fields = json.strip_suffix("\n}").expect("an object with fields");
    let mut text = format!("{fields}{FIELD}");
    let sha256 = hex(&Sha256::digest(&text));
    text += &sha256;
    text += END;
    text.into_bytes()
}

/// What [`seal`] was given. A file without the field, as older versions wrote it, is read as it is; `T` must deny unknown fields, which
/// is what refuses a file whose field is damaged beyond recognition.
///
/// # Errors
/// [`SealError`].
pub fn unseal<T: DeserializeOwned>(text: &[u8]) -> Result<T, SealError> {
    let Some((fields, digits)) = split_seal(text, FIELD, END) else {
        return Ok(serde_json::from_slice(text)?);
    };
    let covered = &text[..fields.len() + FIELD.len()];
    let found = hex(&Sha256::digest(covered));
    if found.as_bytes() != digits {
        return Err(SealError::Checksum {
            found,
            expected: String::from_utf8_lossy(digits).into_owned(),
        });
    }
    Ok(serde_json::from_slice(&[fields, b"\n}"].concat())?)
}

/// What comes before `begin`, and the digits of a SHA-256 between it and `end`, with which `text` ends; `None` for another ending.
pub fn split_seal<'a>(text: &'a [u8], begin: &str, end: &str) -> Option<(&'a [u8], &'a [u8])> {
    const DIGITS: usize = 64;
    let rest = text.strip_suffix(end.as_bytes())?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(begin.as_bytes())?, digits))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Record {
        name: String,
        values: Vec<f64>,
    }

    fn record() -> Record {
        Record {
            name: "a \"quoted\" name".into(),
            values: vec![0.1, 1e-300, -7.25],
        }
    }

    #[test]
    fn a_sealed_file_is_json_with_the_hash_of_what_comes_before_it() {
        let text = seal(&record());
        assert_eq!(unseal::<Record>(&text).unwrap(), record());
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["name"], "a \"quoted\" name");
        let at = text.len() - END.len() - 64;
        assert_eq!(json["sha256"], hex(&Sha256::digest(&text[..at])));
        let old = serde_json::to_vec(&record()).unwrap();
        assert_eq!(unseal::<Record>(&old).unwrap(), record());
    }

    #[test]
    fn no_flip_of_any_single_bit_is_read() {
        let text = seal(&record());
        for bit in 0..8 * text.len() {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal::<Record>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..text.len() {
            assert!(unseal::<Record>(&text[..length]).is_err(), "{length} bytes");
        }
    }
}
