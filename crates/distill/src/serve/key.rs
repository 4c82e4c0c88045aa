//! The key that clients send.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A key, held as its hash.
#[derive(Clone, Debug)]
pub struct Key([u8; 32]);

impl Key {
    /// The key `text`.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether an `Authorization` header brings the key. The time it takes says nothing of how much of it is right.
    pub(super) fn is_in(&self, header: &[u8]) -> bool {
        let Some((scheme, offered)) = header.split_at_checked(7) else {
            return false;
        };
        let offered: [u8; 32] = Sha256::digest(offered.trim_ascii()).into();
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(self.0.ct_eq(&offered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_opens() {
        let key = Key::new("secret");
        for header in ["Bearer secret", "bearer  secret "] {
            assert!(key.is_in(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            "Bearer ",
            "Bearer secre",
            "Bearer secrets",
            "Basic secret",
            "secret",
            "Bearer\u{e9}secret",
        ] {
            assert!(!key.is_in(header.as_bytes()), "{header}");
        }
    }
}
