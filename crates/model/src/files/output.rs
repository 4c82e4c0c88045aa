//! An open file whose writes and syncs can be made to fail.
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{FileError, Operation};

/// A file to write to.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: File,
    /// Bytes written, and those of a write that failed.
    wanted: u64,
}

impl Output {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// [`FileError`] with its path.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        Self::open(path, File::options().create(true).truncate(true))
    }

    /// Makes the file, or goes on at its end.
    ///
    /// # Errors
    /// [`FileError`] with its path.
    pub fn append(path: &Path) -> Result<Self, FileError> {
        Self::open(path, File::options().create(true).append(true))
    }

    fn open(path: &Path, options: &mut std::fs::OpenOptions) -> Result<Self, FileError> {
        let opened = super::strike(Operation::Write, path)
            .and_then(|()| options.write(true).read(true).open(path));
        Ok(Self {
            path: path.into(),
            file: opened.map_err(FileError::of(Operation::Write, path, Some(0)))?,
            wanted: 0,
        })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`FileError`] with the path; some of them may be in the file.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.write_all(bytes)
            .map_err(|source| self.error(Operation::Write, source))
    }

    /// What is written is on disk when this returns.
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn sync(&mut self) -> Result<(), FileError> {
        super::strike(Operation::Sync, &self.path)
            .and_then(|()| self.file.sync_all())
            .map_err(|source| self.error(Operation::Sync, source))
    }

    /// The file itself, to look at or to cut.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The error of an operation on this file.
    pub(super) fn error(&self, operation: Operation, source: io::Error) -> FileError {
        FileError::of(operation, &self.path, Some(self.wanted))(source)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(any(test, feature = "faults"))]
        if let Some(fault) = super::faults::next(Operation::Write, &self.path) {
            // What a full disk, a signal or a crash leaves: a part.
            let half = bytes.len() / 2;
            self.file.write_all(&bytes[..half])?;
            if fault.is_short() && half > 0 {
                self.wanted += half as u64;
                return Ok(half);
            }
            self.wanted += bytes.len() as u64;
            fault.strike(Operation::Write, &self.path)?;
            self.wanted -= bytes.len() as u64;
            return self.write(&bytes[half..]).map(|more| half + more);
        }
        match self.file.write(bytes) {
            Ok(count) => {
                self.wanted += count as u64;
                Ok(count)
            }
            Err(error) => {
                self.wanted += bytes.len() as u64;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
