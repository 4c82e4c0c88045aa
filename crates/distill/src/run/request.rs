//! What a run is asked for from any terminal: empty files in its folder, which it looks for after every step.
//!
//! Files, because whoever watches may be another process, over ssh or on another host of a shared disk, and neither may be
//! lost when the other is killed.
use std::path::{Path, PathBuf};

use super::EventLog;
use crate::error::DistillError;

/// Something that a run is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// No step until the request is taken back.
    Pause,
    /// A checkpoint after the current step.
    Checkpoint,
    /// An end after the current stage.
    StopAfterStage,
}

impl Request {
    const ALL: [Self; 3] = [Self::Pause, Self::Checkpoint, Self::StopAfterStage];

    fn file(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Checkpoint => "checkpoint",
            Self::StopAfterStage => "stop-after-stage",
        }
    }
}

/// The requests to one process of a run: `RUN/requests/LOG/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    folder: PathBuf,
}

impl Requests {
    /// Those to the process that runs the whole plan, or these arms of it.
    pub fn of(run_dir: &Path, arms: &[String]) -> Self {
        Self::of_log(&run_dir.join(EventLog::file(arms)))
    }

    /// Those to the process that writes this log.
    pub fn of_log(log: &Path) -> Self {
        let folder = log.with_file_name("requests");
        Self {
            folder: folder.join(log.file_stem().unwrap_or_default()),
        }
    }

    /// Whether it is asked for.
    pub fn has(&self, request: Request) -> bool {
        self.path(request).exists()
    }

    /// Asks for it.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn make(&self, request: Request) -> Result<(), DistillError> {
        let path = self.path(request);
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&path, []))
            .map_err(|source| DistillError::Io {
                action: "create",
                path,
                source,
            })
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn withdraw(&self, request: Request) -> Result<(), DistillError> {
        let path = self.path(request);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(DistillError::Io {
                action: "delete",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Whether it was asked for; it no longer is.
    pub fn take(&self, request: Request) -> bool {
        self.has(request) && self.withdraw(request).is_ok()
    }

    /// Takes everything back: what was asked of a process that is gone is not asked of the next.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn clear(&self) -> Result<(), DistillError> {
        Request::ALL
            .into_iter()
            .try_for_each(|request| self.withdraw(request))
    }

    fn path(&self, request: Request) -> PathBuf {
        self.folder.join(request.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::StopFlag;

    #[test]
    fn requests_are_made_taken_and_forgotten_by_process() {
        let dir = tempfile::tempdir().unwrap();
        let whole = Requests::of(dir.path(), &[]);
        let arm = Requests::of(dir.path(), &["control-random-mixer/0".into()]);
        let flag = StopFlag::new().with_requests(whole.clone());
        assert!(!flag.is_pausing() && !flag.takes_checkpoint());
        whole.make(Request::Pause).unwrap();
        whole.make(Request::Checkpoint).unwrap();
        assert!(flag.is_pausing() && !flag.is_set_between_stages());
        assert!(!arm.has(Request::Pause), "another process has its own");
        assert!(flag.takes_checkpoint());
        assert!(!flag.takes_checkpoint(), "asked for once");
        whole.make(Request::StopAfterStage).unwrap();
        assert!(flag.is_set_between_stages() && !flag.is_set());
        whole.clear().unwrap();
        assert!(!flag.is_pausing() && !flag.is_set_between_stages());
    }
}
