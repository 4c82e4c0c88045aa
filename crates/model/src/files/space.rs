//! Free space of a disk.
use std::path::Path;

use super::FileError;

/// Finds out before the first byte is written that a disk has no room for `bytes` at `path`, which need not be there yet.
///
/// # Errors
/// [`FileError::NoSpace`]. A system that does not say how much is free has room.
pub fn check_space(path: &Path, bytes: u64) -> Result<(), FileError> {
    match free(path) {
        Some(free) if free < bytes => Err(FileError::NoSpace {
            path: path.into(),
            needed: bytes,
            free: Some(free),
        }),
        _ => Ok(()),
    }
}

/// Bytes that this user can still write at `path`, or below the nearest folder above it that is there.
pub(super) fn free(path: &Path) -> Option<u64> {
    #[cfg(any(test, feature = "faults"))]
    if let Some(free) = super::faults::free() {
        return Some(free);
    }
    let mut place = path;
    let disk = loop {
        match rustix::fs::statvfs(place) {
            Ok(disk) => break disk,
            Err(_) if place.parent().is_some() => place = super::parent(place),
            Err(_) => return None,
        }
        if place == Path::new(".") {
            break rustix::fs::statvfs(place).ok()?;
        }
    };
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
