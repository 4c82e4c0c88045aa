//! `events.jsonl`: one JSON object a line, appended and never rewritten. A process that runs some arms has its own.
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use model::files::{FileError, Output};

use super::{Event, EventSink, StopFlag, TimedEvent};
use crate::error::DistillError;

/// The writer of `events.jsonl`.
#[derive(Debug)]
pub struct EventLog {
    output: Output,
    failure: Option<FileError>,
}

impl EventLog {
    /// File name in the run folder.
    pub const FILE: &'static str = "events.jsonl";

    /// File name of the log of a process that runs these arms alone: `events-50+25.jsonl`; [`EventLog::FILE`] for none.
    pub fn file(arms: &[String]) -> String {
        if arms.is_empty() {
            return Self::FILE.into();
        }
        format!("events-{}.jsonl", arms.join("+").replace('/', "-"))
    }

    /// The logs in a run folder, of all processes that ran parts of it.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn files(run_dir: &Path) -> Result<Vec<PathBuf>, DistillError> {
        let io = |source| DistillError::Io {
            action: "read",
            path: run_dir.into(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(run_dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with("events") && name.ends_with(".jsonl")) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Opens the log of a run folder, or of some of its arms, for appending. A torn last line of an earlier process is ended first, so that it
    /// cannot swallow the next event.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn open(run_dir: &Path, arms: &[String]) -> Result<Self, DistillError> {
        let path = run_dir.join(Self::file(arms));
        let io = |source| DistillError::Io {
            action: "open",
            path: path.clone(),
            source,
        };
        let mut output = Output::append(&path)?;
        let file = output.file();
        if file.seek(SeekFrom::End(0)).map_err(io)? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(io)?;
            file.read_exact(&mut last).map_err(io)?;
            if last != *b"\n" {
                output.add(b"\n")?;
            }
        }
        Ok(Self {
            output,
            failure: None,
        })
    }

    /// Appends one event and returns whether that went well; the failure is kept for [`EventLog::check`].
    pub fn append(&mut self, event: &TimedEvent) -> bool {
        if self.failure.is_none() {
            let line = event.to_json() + "\n";
            self.failure = self.output.add(line.as_bytes()).err();
        }
        self.failure.is_none()
    }

    /// Whether everything so far was written; called between steps and stages, so that a full disk ends a run.
    ///
    /// # Errors
    /// [`DistillError::File`] with the first failure.
    pub fn check(&mut self) -> Result<(), DistillError> {
        self.failure
            .take()
            .map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Writes every event to the log and hands it on to a watcher, such as the dashboard's feed. A log that cannot be
/// written stops the run.
pub struct Tee<'a> {
    log: EventLog,
    stop: StopFlag,
    watcher: &'a mut dyn FnMut(&TimedEvent),
}

impl<'a> Tee<'a> {
    /// Joins a log and a watcher.
    pub fn new(log: EventLog, stop: StopFlag, watcher: &'a mut dyn FnMut(&TimedEvent)) -> Self {
        Self { log, stop, watcher }
    }

    /// As [`EventLog::check`].
    ///
    /// # Errors
    /// [`DistillError::File`] with the first failure.
    pub fn check(&mut self) -> Result<(), DistillError> {
        self.log.check()
    }
}

impl EventSink for Tee<'_> {
    fn emit(&mut self, event: Event) {
        let event = TimedEvent::now(event);
        if !self.log.append(&event) {
            self.stop.stop();
        }
        (self.watcher)(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::LogReader;
    use crate::testing::at_every_operation;

    fn note(number: usize) -> Event {
        let text = format!("note {number}");
        Event::Note { text }
    }

    /// Whatever fails: the events before it are read, the run is told and stops, and a later process goes on behind them.
    #[test]
    fn a_disk_that_fails_ends_the_run_and_leaves_the_events_before() {
        let dirs = std::cell::RefCell::new(Vec::new());
        let work = || -> anyhow::Result<()> {
            let dir = tempfile::tempdir()?;
            let path = dir.path().to_path_buf();
            dirs.borrow_mut().push(dir);
            let stop = StopFlag::new();
            let mut watched = 0;
            let mut watcher = |_: &TimedEvent| watched += 1;
            let mut tee = Tee::new(EventLog::open(&path, &[])?, stop.clone(), &mut watcher);
            (0..4).for_each(|number| tee.emit(note(number)));
            let checked = tee.check();
            drop(tee);
            assert_eq!(watched, 4, "the dashboard goes on");
            assert_eq!(stop.is_set(), checked.is_err());
            Ok(checked?)
        };
        at_every_operation(EventLog::FILE, 5, work, |whole| {
            let dir = dirs.borrow_mut().pop().unwrap();
            let path = dir.path();
            let read = || -> Vec<Event> {
                let mut reader = LogReader::open(path, &[]).unwrap();
                reader
                    .poll()
                    .unwrap()
                    .into_iter()
                    .map(|timed| timed.event)
                    .collect()
            };
            if !path.join(EventLog::FILE).exists() {
                assert!(whole.is_none());
                return;
            }
            let before = read();
            let expected: Vec<Event> = (0..before.len()).map(note).collect();
            assert_eq!(before, expected);
            assert!(whole.is_none() || before.len() == 4);
            let mut log = EventLog::open(path, &[]).unwrap();
            assert!(log.append(&TimedEvent::now(note(9))));
            assert_eq!(read(), [expected, vec![note(9)]].concat());
        });
    }
}
