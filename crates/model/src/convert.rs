//! From attention to SSM: which layers, and with which weights.

pub(crate) mod init;
