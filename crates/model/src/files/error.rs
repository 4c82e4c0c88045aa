//! What can go wrong while writing.
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Operation, space};

/// A file or folder that was not written: nothing of it is left, and what was there before is there still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// Verb: `write`, `sync`, `rename`, `remove`
        action: &'static str,
        /// The file or folder
        path: PathBuf,
        /// What the system said
        #[source]
        source: io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error(
        "no space for `{}`: {needed} bytes needed, {} (free some, then run the same again)",
        path.display(), match free { Some(free) => format!("{free} free"), None => "none free".into() }
    )]
    NoSpace {
        /// The file or folder
        path: PathBuf,
        /// Bytes of all of it, as far as they are known
        needed: u64,
        /// Bytes free, where the system says
        free: Option<u64>,
    },
}

impl FileError {
    /// The same of the file that is meant, where it happened to the one beside it.
    pub fn about(self, meant: &Path) -> Self {
        let meant = meant.into();
        match self {
            Self::Io { action, source, .. } => Self::Io {
                action,
                path: meant,
                source,
            },
            Self::NoSpace { needed, free, .. } => Self::NoSpace {
                path: meant,
                needed,
                free,
            },
        }
    }

    /// Wraps a failure of the system; `needed` are the bytes that were to be written.
    pub(super) fn of(
        operation: Operation,
        path: &Path,
        needed: Option<u64>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match (source.kind(), needed) {
            (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, Some(needed)) => Self::NoSpace {
                free: space::free(&path),
                path,
                needed,
            },
            _ => Self::Io {
                action: operation.verb(),
                path,
                source,
            },
        }
    }
}
