//! SHA-256 of files.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::DistillError;

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// [`DistillError::Io`].
pub fn file_sha256(path: &Path) -> Result<String, DistillError> {
    let io = |source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    };
    let mut file = File::open(path).map_err(io)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
