//! How a run is asked to stop, and, from any terminal, for other things.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Request, Requests};

/// Set once to leave after the current step. Cheap to clone: clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    asked: Arc<AtomicUsize>,
    requests: Option<Requests>,
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same flag, which also looks for requests in the run folder.
    pub fn with_requests(self, requests: Requests) -> Self {
        Self {
            requests: Some(requests),
            ..self
        }
    }

    /// Asks to stop; returns how often it was asked before.
    pub fn stop(&self) -> usize {
        self.asked.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether anyone asked to stop.
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0
    }

    /// Whether no stage may begin any more.
    pub fn is_set_between_stages(&self) -> bool {
        self.is_set() || self.has(Request::StopAfterStage)
    }

    /// Whether no step may begin for now.
    pub fn is_pausing(&self) -> bool {
        self.has(Request::Pause)
    }

    /// Whether a checkpoint was asked for since the last call.
    pub fn takes_checkpoint(&self) -> bool {
        let requests = self.requests.as_ref();
        requests.is_some_and(|requests| requests.take(Request::Checkpoint))
    }

    fn has(&self, request: Request) -> bool {
        let requests = self.requests.as_ref();
        requests.is_some_and(|requests| requests.has(request))
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
