//! Files and folders that are there as a whole or not at all: written beside their place, synced, renamed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::CONFIG_JSON;
use crate::error::ModelError;

/// Lets `write` fill a folder beside `folder`, and puts it there: after a crash or on a full disk there is the old folder or
/// none. An existing model folder is replaced, with all that is in it; another folder is not.
///
/// # Errors
/// Those of `write`; [`ModelError::Io`] with the path that could not be written, [`ModelError::Malformed`] when `folder` exists
/// and holds something else than a model.
pub(crate) fn write_folder(
    folder: &Path,
    write: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    check_replaceable(folder)?;
    let part = beside(folder, "part");
    remove(&part)?;
    let fill = || {
        fs::create_dir_all(&part).map_err(ModelError::io(&part))?;
        write(&part)?;
        sync_folder(Some(&part));
        replace(&part, folder)
    };
    let written = fill();
    if written.is_err() {
        // The error being returned says more than a failure to tidy up would.
        let _ = fs::remove_dir_all(&part);
    }
    written
}

/// Lets `write` fill a file beside `path`, and puts it there.
///
/// # Errors
/// [`ModelError::Io`] with the path that could not be written.
pub(crate) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), ModelError> {
    let part = beside(path, "part");
    let fill = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&part, path)
    };
    let written = fill().map_err(ModelError::io(path));
    match written {
        Ok(()) => sync_folder(path.parent()),
        Err(_) => drop(fs::remove_file(&part)),
    }
    written
}

/// Writes a file of a folder that nobody looks at yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(ModelError::io(path))
}

/// Replacing deletes: only a model folder, or an empty one, is fair game.
fn check_replaceable(folder: &Path) -> Result<(), ModelError> {
    let refuse = |problem: &str| {
        Err(ModelError::Malformed {
            path: folder.into(),
            field: "folder to write".into(),
            problem: problem.into(),
            cure: "name a folder that does not exist yet",
        })
    };
    if folder.file_name().is_none() {
        return refuse("has no name of its own");
    }
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) if !folder.join(CONFIG_JSON).exists() => {
            refuse("exists and holds no model, so it is not replaced")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            refuse("is a file, or below one")
        }
        _ => Ok(()),
    }
}

/// A hidden sibling of `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

fn remove(folder: &Path) -> Result<(), ModelError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ModelError::io(folder)(error))
        }
        _ => Ok(()),
    }
}

/// Puts `part` where `folder` is.
fn replace(part: &Path, folder: &Path) -> Result<(), ModelError> {
    let old = beside(folder, "old");
    let has_old = folder.exists();
    if has_old {
        remove(&old)?;
        fs::rename(folder, &old).map_err(ModelError::io(folder))?;
    }
    if let Err(error) = fs::rename(part, folder) {
        if has_old {
            let _ = fs::rename(&old, folder);
        }
        return Err(ModelError::io(folder)(error));
    }
    sync_folder(folder.parent());
    if has_old { remove(&old) } else { Ok(()) }
}

/// Makes names durable, where the system lets a folder be opened.
fn sync_folder(folder: Option<&Path>) {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}
