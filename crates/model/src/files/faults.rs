//! Faults on demand, for tests: the n-th operation on files fails, or ends the process.
//!
//! For a thread by [`with`]; for a whole process by the variable [`VARIABLE`] of its environment, as `FAULT N PART`: the `N`-th
//! operation, from 1, on a path that contains `PART`. `FAULT` is `no-space`, `io`, `short` or `kill`; `keep 0 PART` removes no
//! folder whose path contains `PART`.
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use super::Operation;

/// Variable of the environment that asks for a fault.
pub const VARIABLE: &str = "SERPENTINE_FAULT";

/// What happens in place of an operation; half of what was to be written is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full, from this operation on
    NoSpace,
    /// The disk is broken, from this operation on
    Io,
    /// A write takes a part, which is no error
    Short,
    /// The process ends, as by the kernel
    Kill,
    /// Folders are not removed
    Keep,
}

impl Fault {
    pub(super) fn is_short(self) -> bool {
        self == Self::Short
    }

    pub(super) fn strike(self, operation: Operation, path: &Path) -> io::Result<()> {
        match self {
            Self::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Self::Io => Err(io::Error::other("input/output error")),
            Self::Short | Self::Keep => Ok(()),
            Self::Kill => {
                use std::io::Write;
                // The harness reads where it was.
                let _ = writeln!(
                    io::stderr(),
                    "killed: {} `{}`",
                    operation.verb(),
                    path.display()
                );
                let this = rustix::process::getpid();
                let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
                unreachable!("nobody outlives SIGKILL")
            }
        }
    }
}

/// A fault to come.
#[derive(Clone, Debug)]
struct Plan {
    fault: Fault,
    /// Operations before it.
    left: usize,
    part: String,
    /// Whether it has come.
    has_struck: bool,
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let fault = match words.next()? {
            "no-space" => Fault::NoSpace,
            "io" => Fault::Io,
            "short" => Fault::Short,
            "kill" => Fault::Kill,
            "keep" => Fault::Keep,
            _ => return None,
        };
        let at: usize = words.next()?.parse().ok()?;
        Some(Self {
            fault,
            left: at.saturating_sub(1),
            part: words.next()?.into(),
            has_struck: false,
        })
    }

    fn next(&mut self, path: &Path) -> Option<Fault> {
        if self.fault == Fault::Keep || !path.to_string_lossy().contains(&self.part) {
            return None;
        }
        let is_lasting = matches!(self.fault, Fault::NoSpace | Fault::Io);
        if self.has_struck {
            return Some(self.fault).filter(|_| is_lasting);
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.has_struck = true,
        }
        self.has_struck.then_some(self.fault)
    }
}

thread_local! {
    static OF_THREAD: RefCell<Option<Plan>> = const { RefCell::new(None) };
    static FREE: RefCell<Option<u64>> = const { RefCell::new(None) };
}

static OF_PROCESS: LazyLock<Mutex<Option<Plan>>> = LazyLock::new(|| {
    let text = std::env::var(VARIABLE).ok();
    Mutex::new(text.map(|text| Plan::parse(&text).expect("a fault as the module says")))
});

/// Does `work` with a fault at the `at`-th operation, from 1, that this thread does on a path that contains `part`; says
/// whether there were so many.
pub fn with<R>(fault: Fault, at: usize, part: &str, work: impl FnOnce() -> R) -> (R, bool) {
    let plan = Plan {
        fault,
        left: at.saturating_sub(1),
        part: part.into(),
        has_struck: false,
    };
    OF_THREAD.set(Some(plan));
    let result = work();
    let plan = OF_THREAD.take();
    (result, plan.is_some_and(|plan| plan.has_struck))
}

/// Does `work` on a disk that says it has so many bytes free.
pub fn with_free<R>(bytes: u64, work: impl FnOnce() -> R) -> R {
    FREE.set(Some(bytes));
    let result = work();
    FREE.set(None);
    result
}

pub(super) fn free() -> Option<u64> {
    FREE.with_borrow(|free| *free)
}

/// The fault in place of the next operation.
pub(super) fn next(operation: Operation, path: &Path) -> Option<Fault> {
    // Removing frees space: a full disk does not mind.
    let is_refused = |fault: &Fault| *fault != Fault::NoSpace || operation != Operation::Remove;
    if let Some(own) = OF_THREAD.with_borrow_mut(|plan| plan.as_mut()?.next(path)) {
        return Some(own).filter(is_refused);
    }
    let mut plan = OF_PROCESS
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    plan.as_mut()?.next(path).filter(is_refused)
}

/// Whether a folder is to stay.
pub(super) fn keeps(folder: &Path) -> bool {
    let plan = OF_PROCESS
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    plan.as_ref().is_some_and(|plan| {
        plan.fault == Fault::Keep && folder.to_string_lossy().contains(&plan.part)
    })
}
