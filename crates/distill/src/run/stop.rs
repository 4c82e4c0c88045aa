//! How a run is asked to stop.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set once to leave after the current step. Cheap to clone: clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop; returns how often it was asked before.
    pub fn stop(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether anyone asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Lets Ctrl-C and SIGTERM set the flag; a second one ends the process with exit code 130.
    ///
    /// # Errors
    /// If the process already has a handler, or the system refuses one.
    pub fn listen(&self) -> Result<(), ctrlc::Error> {
        let flag = self.clone();
        ctrlc::set_handler(move || {
            if flag.stop() > 0 {
                std::process::exit(130);
            }
        })
    }
}
