//! Reads `events.jsonl` while it grows.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{EventLog, TimedEvent};
use crate::error::DistillError;

/// Follows the log of a run folder. A line without its newline is waited for; a line that is not an event (torn by a
/// crash, or of a newer version) is skipped and counted.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    lines: BufReader<File>,
    partial: Vec<u8>,
    skipped: usize,
}

impl LogReader {
    /// Opens the log of a run folder, or of some of its arms.
    ///
    /// # Errors
    /// [`DistillError::Io`] if there is none.
    pub fn open(run_dir: &Path, arms: &[String]) -> Result<Self, DistillError> {
        Self::open_file(run_dir.join(EventLog::file(arms)))
    }

    /// Opens a log.
    ///
    /// # Errors
    /// [`DistillError::Io`] if there is none.
    pub fn open_file(path: PathBuf) -> Result<Self, DistillError> {
        let file = File::open(&path).map_err(|source| DistillError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            lines: BufReader::new(file),
            partial: Vec::new(),
            skipped: 0,
        })
    }

    /// Every whole event since the last call.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn poll(&mut self) -> Result<Vec<TimedEvent>, DistillError> {
        let mut events = Vec::new();
        loop {
            let read = self
                .lines
                .read_until(b'\n', &mut self.partial)
                .map_err(|source| DistillError::Io {
                    action: "read",
                    path: self.path.clone(),
                    source,
                })?;
            if read == 0 || !self.partial.ends_with(b"\n") {
                return Ok(events);
            }
            match serde_json::from_slice(&self.partial) {
                Ok(event) => events.push(event),
                Err(_) if self.partial.trim_ascii().is_empty() => {}
                Err(_) => self.skipped += 1,
            }
            self.partial.clear();
        }
    }

    /// Lines that were not events.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::run::{Event, EventSink, StopFlag, Tee};

    fn note(text: &str) -> Event {
        Event::Note { text: text.into() }
    }

    #[test]
    fn a_torn_last_line_hides_no_other_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = 0;
        let mut watcher = |_: &TimedEvent| seen += 1;
        let mut sink = Tee::new(
            EventLog::open(dir.path(), &[]).unwrap(),
            StopFlag::new(),
            &mut watcher,
        );
        sink.emit(note("one"));
        sink.check().unwrap();
        assert_eq!(seen, 1);
        let mut file = File::options()
            .append(true)
            .open(dir.path().join(EventLog::FILE))
            .unwrap();
        file.write_all(b"{\"time_ms\":1,\"event\":\"no").unwrap();

        let mut reader = LogReader::open(dir.path(), &[]).unwrap();
        assert_eq!(reader.poll().unwrap().len(), 1);

        let mut watcher = |_: &TimedEvent| {};
        Tee::new(
            EventLog::open(dir.path(), &[]).unwrap(),
            StopFlag::new(),
            &mut watcher,
        )
        .emit(note("two"));
        let events = reader.poll().unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event, note("two"));
        assert_eq!(reader.skipped(), 1);
    }

    #[test]
    fn events_survive_the_round_trip() {
        let event = Event::Step {
            step: 3,
            loss: 1.25,
            ce: Some(1.0),
            kl: None,
            margin: None,
            accuracy: None,
            lr: 1e-3,
            grad_norm: 0.5,
            tokens: 1024,
            tokens_per_s: 512.0,
        };
        let text = serde_json::to_string(&TimedEvent {
            time_ms: 7,
            event: event.clone(),
        })
        .unwrap();
        assert!(
            text.starts_with("{\"time_ms\":7,\"event\":\"step\",\"step\":3,"),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<TimedEvent>(&text).unwrap().event,
            event
        );
    }
}
