//! A bounded queue from training to the screen that never makes training wait.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::run::{Event, TimedEvent};

/// Queue of events. When it is full, new `Step` events are dropped: the screen misses a point of a curve. The other
/// events are few and always kept, so that the fold stays right.
#[derive(Debug, Clone)]
pub struct Feed {
    queue: Arc<Mutex<VecDeque<TimedEvent>>>,
    capacity: usize,
}

impl Feed {
    /// An empty queue for `capacity` steps.
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: Arc::default(),
            capacity,
        }
    }

    /// Adds an event, or drops it if it is a step and the queue is full.
    pub fn push(&self, event: &TimedEvent) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < self.capacity || !matches!(event.event, Event::Step { .. }) {
            queue.push_back(event.clone());
        }
    }

    /// Takes everything that waits.
    pub fn drain(&self) -> Vec<TimedEvent> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_feed_drops_steps_and_keeps_the_rest() {
        let feed = Feed::new(2);
        let step = |step| {
            TimedEvent::now(Event::Step {
                step,
                loss: 1.0,
                ce: None,
                kl: None,
                margin: None,
                accuracy: None,
                lr: 1e-3,
                grad_norm: 1.0,
                tokens: 1,
                tokens_per_s: 1.0,
            })
        };
        for index in 1..=5 {
            feed.push(&step(index));
        }
        feed.push(&TimedEvent::now(Event::RunInterrupted));
        let events = feed.drain();
        assert_eq!(events.len(), 3);
        assert_eq!(events[2].event, Event::RunInterrupted);
        assert!(feed.drain().is_empty());
    }
}
