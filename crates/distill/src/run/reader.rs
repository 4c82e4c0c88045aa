//! Reads `events.jsonl` while it grows.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{EventLog, TimedEvent};
use crate::error::DistillError;

/// Follows the log of a run folder. A line without its newline is waited for; a line that is not an event (torn by a
/// crash, or of a newer version) is skipped and counted.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    lines: Option<BufReader<File>>,
    partial: Vec<u8>,
    skipped: usize,
    read_bytes: u64,
}

/// Events between two looks at the clock.
const EVENTS_AT_A_TIME: usize = 64;

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
        let mut reader = Self::awaiting_file(path);
        match reader.open_now()? {
            true => Ok(reader),
            false => Err(DistillError::Io {
                action: "read",
                path: reader.path,
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    /// The log of a run folder, or of some of its arms, which may not be there yet: it has no events until it is.
    pub fn awaiting(run_dir: &Path, arms: &[String]) -> Self {
        Self::awaiting_file(run_dir.join(EventLog::file(arms)))
    }

    fn awaiting_file(path: PathBuf) -> Self {
        Self {
            path,
            lines: None,
            partial: Vec::new(),
            skipped: 0,
            read_bytes: 0,
        }
    }

    /// Whether the log is there.
    fn open_now(&mut self) -> Result<bool, DistillError> {
        if self.lines.is_some() {
            return Ok(true);
        }
        match File::open(&self.path) {
            Ok(file) => self.lines = Some(BufReader::with_capacity(1 << 17, file)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(DistillError::Io {
                    action: "read",
                    path: self.path.clone(),
                    source,
                });
            }
        }
        Ok(self.lines.is_some())
    }

    /// Every whole event since the last call.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn poll(&mut self) -> Result<Vec<TimedEvent>, DistillError> {
        let mut events = Vec::new();
        while let Some(event) = self.next()? {
            events.push(event);
        }
        Ok(events)
    }

    /// Hands on whole events since the last call, for about as long as it may take; says whether there are more.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn poll_for(
        &mut self,
        time: Duration,
        mut each: impl FnMut(TimedEvent),
    ) -> Result<bool, DistillError> {
        let started = Instant::now();
        loop {
            for _ in 0..EVENTS_AT_A_TIME {
                match self.next()? {
                    Some(event) => each(event),
                    None => return Ok(false),
                }
            }
            if started.elapsed() >= time {
                return Ok(true);
            }
        }
    }

    /// The next whole event, if there is one.
    fn next(&mut self) -> Result<Option<TimedEvent>, DistillError> {
        if !self.open_now()? {
            return Ok(None);
        }
        let Some(lines) = &mut self.lines else {
            return Ok(None);
        };
        loop {
            let read = lines
                .read_until(b'\n', &mut self.partial)
                .map_err(|source| DistillError::Io {
                    action: "read",
                    path: self.path.clone(),
                    source,
                })?;
            self.read_bytes += read as u64;
            if read == 0 || !self.partial.ends_with(b"\n") {
                return Ok(None);
            }
            let event = serde_json::from_slice(&self.partial);
            let is_blank = self.partial.trim_ascii().is_empty();
            self.partial.clear();
            match event {
                Ok(event) => return Ok(Some(event)),
                Err(_) if is_blank => {}
                Err(_) => self.skipped += 1,
            }
        }
    }

    /// Share of the log that is read, 0 to 1.
    pub fn share_read(&self) -> f64 {
        let file = self.lines.as_ref().map(BufReader::get_ref);
        let length = file.and_then(|file| Some(file.metadata().ok()?.len()));
        self.read_bytes as f64 / length.unwrap_or(0).max(1) as f64
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
    fn a_log_is_waited_for_and_read_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = LogReader::awaiting(dir.path(), &[]);
        assert!(reader.poll().unwrap().is_empty());
        assert!(LogReader::open(dir.path(), &[]).is_err());
        let mut log = EventLog::open(dir.path(), &[]).unwrap();
        for index in 0..200 {
            assert!(log.append(&TimedEvent::now(note(&index.to_string()))));
        }
        let mut events = Vec::new();
        // No time at all is time for some.
        assert!(
            reader
                .poll_for(Duration::ZERO, |event| events.push(event))
                .unwrap()
        );
        assert_eq!(events.len(), EVENTS_AT_A_TIME);
        assert!(
            (0.2..0.4).contains(&reader.share_read()),
            "{}",
            reader.share_read()
        );
        while reader
            .poll_for(Duration::ZERO, |event| events.push(event))
            .unwrap()
        {}
        assert_eq!(events.len(), 200);
        assert_eq!(events[199].event, note("199"));
        assert_eq!(reader.share_read(), 1.0);
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
