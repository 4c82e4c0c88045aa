//! One file, whole or not at all.
use std::fs;
use std::io::{self, BufWriter};
use std::path::Path;

use super::{FileError, Operation, Output, beside, check_space, parent, rename, sync_folder};

/// Writes a file so that a crash or a full disk leaves the old one, or none.
///
/// # Errors
/// [`FileError`]; the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    place(path, bytes.len() as u64, |part| write_new(part, bytes))
}

/// As [`write()`], for content that need not be in memory: `write` is given the file to fill.
///
/// # Errors
/// [`FileError`]; the temporary file is removed.
pub fn write_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Output>) -> io::Result<()>,
) -> Result<(), FileError> {
    place(path, 0, |part| {
        let mut file = BufWriter::with_capacity(1 << 20, Output::create(part)?);
        let written = write(&mut file);
        let (mut output, rest) = file.into_parts();
        written.map_err(|source| output.error(Operation::Write, source))?;
        output.add(&rest.expect("no writer panics"))?;
        output.sync()
    })
}

/// Writes a file of a folder that nobody looks at yet.
///
/// # Errors
/// [`FileError`]; a part of it may be there.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut output = Output::create(path).map_err(|error| match error {
        FileError::NoSpace { path, free, .. } => FileError::NoSpace {
            path,
            free,
            needed: bytes.len() as u64,
        },
        other => other,
    })?;
    output.add(bytes)?;
    output.sync()
}

/// Lets `fill` make a file of at least `bytes` beside `path`, and puts it there. A device or pipe is written directly.
fn place(
    path: &Path,
    bytes: u64,
    fill: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    // A device such as `/dev/null` takes the content itself: renaming would replace it with a file.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return match fill(path) {
            // Neither devices nor pipes can be synced.
            Err(FileError::Io { action: "sync", .. }) => Ok(()),
            other => other,
        };
    }
    check_space(path, bytes)?;
    let part = beside(path, "part");
    let written = fill(&part).and_then(|()| rename(&part, path));
    match written {
        Ok(()) => sync_folder(parent(path)),
        // The error being returned says more than a failure to tidy up would.
        Err(_) => drop(fs::remove_file(&part)),
    }
    written.map_err(|error| error.about(path))
}
