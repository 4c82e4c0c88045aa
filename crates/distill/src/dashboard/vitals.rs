//! What is around a run and not in its log: free disk, and whether anyone trains.
use std::fs::File;
use std::path::Path;

/// Free share below which a disk is low, and free bytes.
const LOW_SHARE: f64 = 0.02;
const LOW_BYTES: u64 = 2 << 30;

/// The surroundings of a run folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Bytes that are free on its disk, and all of them.
    pub disk: Option<(u64, u64)>,
    /// Whether a process holds it; `None` where that cannot be told.
    pub is_held: Option<bool>,
    /// Whether the folder is gone.
    pub is_gone: bool,
}

impl Vitals {
    /// Looks at a run folder, and where wanted at who holds it.
    pub fn of(run_dir: &Path, is_holder_wanted: bool) -> Self {
        Self {
            disk: disk(run_dir),
            is_held: is_holder_wanted.then(|| is_held(run_dir)).flatten(),
            is_gone: !run_dir.exists(),
        }
    }

    /// Bytes that are free, if they are few.
    pub fn low_disk(&self) -> Option<u64> {
        let (free, all) = self.disk?;
        let least = LOW_BYTES.min((all as f64 * LOW_SHARE) as u64);
        (free < least).then_some(free)
    }
}

#[cfg(unix)]
fn disk(path: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some((
        disk.f_bavail.saturating_mul(disk.f_frsize),
        disk.f_blocks.saturating_mul(disk.f_frsize),
    ))
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<(u64, u64)> {
    None
}

/// A trainer holds the lock of its folder, or shares it with those of other arms; a look takes it for a moment only.
fn is_held(run_dir: &Path) -> Option<bool> {
    let file = File::open(run_dir.join("lock")).ok()?;
    match file.try_lock() {
        Ok(()) => Some(false),
        Err(std::fs::TryLockError::WouldBlock) => Some(true),
        Err(std::fs::TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunFolder;

    #[test]
    fn a_trainer_is_seen_while_it_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        assert!(Vitals::of(&run, true).is_gone);
        let folder = RunFolder::create(Some(&run), "x", &["50".into()]).unwrap();
        assert_eq!(Vitals::of(&run, true).is_held, Some(true));
        drop(folder);
        let vitals = Vitals::of(&run, true);
        assert_eq!((vitals.is_held, vitals.is_gone), (Some(false), false));
    }

    #[test]
    fn a_disk_is_low_by_its_size_or_by_what_a_checkpoint_needs() {
        let low = |free: u64, all: u64| {
            let vitals = Vitals {
                disk: Some((free, all)),
                ..Vitals::default()
            };
            vitals.low_disk().is_some()
        };
        assert!(low(1 << 30, 1 << 40) && !low(3 << 30, 1 << 40));
        assert!(low(100, 10_000) && !low(300, 10_000));
    }
}
