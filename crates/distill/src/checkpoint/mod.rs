//! Files and folders that are whole or absent: written beside, fsynced, renamed.
mod atomic;
mod hash;

pub use atomic::{write_atomically, write_atomically_with};
pub(crate) use hash::hex;
