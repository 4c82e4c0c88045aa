//! A folder of files, whole or not at all.
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::{FileError, Operation, beside, parent, rename, strike};

/// Lets `fill` write files into a folder beside `folder`, and puts it there, in place of one that is there: after a crash or on a
/// full disk there is the old folder or none, once [`recover_folder`] has looked.
///
/// # Errors
/// Those of `fill`; [`FileError`] with the path that could not be written.
pub fn write_folder<E: From<FileError>>(
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let part = beside(folder, "part");
    recover_folder(folder)?;
    remove_folder(&part)?;
    let make = || {
        fs::create_dir_all(&part).map_err(FileError::of(Operation::Write, &part, None))?;
        fill(&part)?;
        sync_folder(&part);
        Ok(replace(&part, folder)?)
    };
    let written = make();
    if written.is_err() {
        // The error being returned says more than a failure to tidy up would.
        let _ = fs::remove_dir_all(&part);
    }
    written
}

/// Undoes the replacement of a folder that a process was killed in the middle of, or ends it where the new one is in place. Whoever
/// lists folders that are written by [`write_folder`] calls it first.
///
/// # Errors
/// [`FileError`] with the path that could not be renamed or removed.
pub fn recover_folder(folder: &Path) -> Result<(), FileError> {
    let old = beside(folder, "old");
    if folder.exists() {
        return remove_folder(&old);
    }
    if old.exists() {
        rename(&old, folder)?;
        sync_folder(parent(folder));
    }
    Ok(())
}

/// Removes a folder with all that is in it, if it is there.
///
/// # Errors
/// [`FileError`] with its path.
pub fn remove_folder(folder: &Path) -> Result<(), FileError> {
    #[cfg(any(test, feature = "faults"))]
    if super::faults::keeps(folder) {
        return Ok(());
    }
    let removed = strike(Operation::Remove, folder).and_then(|()| fs::remove_dir_all(folder));
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::of(Operation::Remove, folder, None)(error))
        }
        _ => Ok(()),
    }
}

/// Puts `part` where `folder` is.
fn replace(part: &Path, folder: &Path) -> Result<(), FileError> {
    let old = beside(folder, "old");
    remove_folder(&old)?;
    let has_old = folder.exists();
    if has_old {
        rename(folder, &old)?;
    }
    if let Err(error) = rename(part, folder) {
        if has_old {
            let _ = fs::rename(&old, folder);
        }
        return Err(error);
    }
    sync_folder(parent(folder));
    if has_old { remove_folder(&old) } else { Ok(()) }
}

/// Makes names durable, where the system lets a folder be opened; a rename has happened either way.
pub fn sync_folder(folder: &Path) {
    let synced = strike(Operation::Sync, folder).and_then(|()| File::open(folder)?.sync_all());
    drop(synced);
}
