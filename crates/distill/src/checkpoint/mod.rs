//! Files and folders that are whole or absent: written beside, fsynced, renamed.
mod atomic;
mod hash;

pub use atomic::{write_atomically, write_atomically_with};
pub use hash::file_sha256;
pub(crate) use hash::hex;
