//! What the engine is asked for, and what it tells.

use std::time::Instant;

use model::{Finish, Sampling};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

/// One reply that is wanted.
pub(super) struct Job {
    /// Tokens to continue.
    pub(super) prompt: Vec<u32>,
    pub(super) sampling: Sampling,
    /// Texts that the reply ends before.
    pub(super) stops: Vec<String>,
    /// Which reply of its request it is.
    pub(super) index: usize,
    pub(super) deadline: Instant,
    /// Who hears of the reply. There are never more events than tokens of the reply, so that nobody has to wait for a slow client.
    pub(super) events: UnboundedSender<Event>,
    /// Its place among those that run or wait, free again when the job is dropped.
    pub(super) _place: OwnedSemaphorePermit,
}

/// Something that happened to a reply.
#[derive(Debug)]
pub(super) struct Event {
    /// Which reply of the request.
    pub(super) index: usize,
    pub(super) news: News,
}

#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// More text, which is not empty.
    Text(String),
    /// The end, after so many tokens.
    Finished { finish: Finish, tokens: usize },
    /// An end that was not meant.
    Failed(Failure),
}

/// Why a reply could not be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its time was up.
    TimedOut,
    /// The engine failed.
    Internal,
}

impl Job {
    pub(super) fn tell(&self, news: News) {
        let index = self.index;
        // A client that has gone is noticed by `is_given_up`.
        let _ = self.events.send(Event { index, news });
    }

    /// Whether nobody waits for the reply any more; those who waited too long are told.
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        if now >= self.deadline {
            self.tell(News::Failed(Failure::TimedOut));
            return true;
        }
        self.events.is_closed()
    }
}
