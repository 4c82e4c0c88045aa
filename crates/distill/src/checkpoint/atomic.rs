//! One file, whole or not at all.
use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::DistillError;

/// Writes a file so that a crash or a full disk leaves the old one, or none.
///
/// # Errors
/// [`DistillError::Io`]; the temporary file is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DistillError> {
    write_atomically_with(path, |part| File::create(part)?.write_all(bytes))
}

/// As [`write_atomically`], for content that need not be in memory: `write` fills the file it is given the path of.
///
/// A device or pipe is written directly.
///
/// # Errors
/// [`DistillError::Io`]; the temporary file is removed.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), DistillError> {
    let io = |action| {
        move |source| DistillError::Io {
            action,
            path: path.into(),
            source,
        }
    };
    // A device such as `/dev/null` takes the content itself: renaming would replace it with a file.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return write(path).map_err(io("write"));
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    // Syncing needs no more than a handle on the same file.
    let written = write(&part).and_then(|()| File::options().write(true).open(&part)?.sync_all());
    let renamed = written
        .map_err(io("write"))
        .and_then(|()| std::fs::rename(&part, path).map_err(io("rename")));
    if renamed.is_err() {
        // The error being returned says more than a failure to tidy up would.
        let _ = std::fs::remove_file(&part);
        return renamed;
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")));
    Ok(())
}

/// Makes renames in a folder durable, where the system can.
pub(crate) fn sync_folder(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    // Not every system lets a folder be opened; the rename itself has happened either way.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomically(&path, b"old").unwrap();
        // A folder where the temporary file should go.
        std::fs::create_dir(dir.path().join("state.json.part")).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert!(write_atomically(&dir.path().join("absent/state.json"), b"new").is_err());
    }
}
