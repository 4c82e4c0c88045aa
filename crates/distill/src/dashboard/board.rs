//! Every run below a folder: one line each, one of which can be opened, alone or with others beside it.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Widget};

use super::app::{Progress, RunStatus};
use super::terminal::{Shown, Source, follow, in_terminal, show_in, typed};
use super::{App, Theme, duration, theme};
use crate::error::DistillError;
use crate::run::{EventLog, LogReader, Manifest, Requests, TimedEvent};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(200);
/// Time between two looks for new runs.
const SEARCH: Duration = Duration::from_secs(5);
/// Folders below the one given that are looked into.
const DEPTH: usize = 3;

/// A run of the board.
struct Row {
    path: PathBuf,
    log: PathBuf,
    reader: LogReader,
    app: App,
    is_marked: bool,
}

/// The runs below a folder.
pub struct Board {
    folder: PathBuf,
    rows: Vec<Row>,
    at: usize,
    theme: Theme,
}

impl Board {
    /// Looks for runs below `folder`.
    ///
    /// # Errors
    /// [`DistillError::Io`] if the folder cannot be read.
    pub fn new(folder: &Path, theme: Theme) -> Result<Self, DistillError> {
        let mut board = Self {
            folder: folder.into(),
            rows: Vec::new(),
            at: 0,
            theme,
        };
        board.search()?;
        Ok(board)
    }

    /// Adds runs that are new.
    fn search(&mut self) -> Result<(), DistillError> {
        let mut logs = Vec::new();
        find(&self.folder, DEPTH, &mut logs).map_err(|source| DistillError::Io {
            action: "read",
            path: self.folder.clone(),
            source,
        })?;
        logs.sort();
        for (path, log) in logs {
            if self.rows.iter().all(|row| row.log != log) {
                self.rows.push(Row {
                    reader: LogReader::open_file(log.clone())?,
                    app: App::default(),
                    is_marked: false,
                    path,
                    log,
                });
            }
        }
        Ok(())
    }

    /// Folds what is new of every log, for as long as a frame may take.
    ///
    /// # Errors
    /// [`DistillError::Io`] if one cannot be read.
    pub fn poll(&mut self, now_ms: u64) -> anyhow::Result<()> {
        for row in &mut self.rows {
            follow(&mut row.reader, &mut row.app)?;
            row.app.tick(now_ms);
        }
        Ok(())
    }

    /// Draws a line a run.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let [body, foot] =
            Layout::vertical([Constraint::Min(3), Constraint::Length(1)]).areas(area);
        let title = format!(" {} runs in {} ", self.rows.len(), self.folder.display());
        let block = Block::bordered().title(title);
        let height = usize::from(block.inner(body).height).saturating_sub(1);
        let head = format!(
            "  {:<34} {:<11} {:>7} {:>9} {:>9}  {}",
            "run", "status", "stages", "loss", "left", "stage, or what is wrong"
        );
        let first = self.at.saturating_sub(height / 2);
        let first = first.min(self.rows.len().saturating_sub(height));
        let rows = self.rows.iter().enumerate().skip(first).take(height);
        let head = Line::raw(head).style(Modifier::DIM);
        let lines = rows.map(|(index, row)| {
            let line = self.line(row);
            match index == self.at {
                true => line.style(Modifier::REVERSED),
                false => line,
            }
        });
        Paragraph::new([head].into_iter().chain(lines).collect::<Vec<_>>())
            .block(block)
            .render(body, buffer);
        Line::raw("Up Down  Enter open  Space mark to compare  q leave")
            .style(Modifier::DIM)
            .render(foot, buffer);
        if self.theme.is_ascii {
            theme::to_ascii(area, buffer);
        }
    }

    fn line(&self, row: &Row) -> Line<'static> {
        let app = &row.app;
        let name = row.path.strip_prefix(&self.folder).unwrap_or(&row.path);
        let mut name = name.display().to_string();
        let log = row.log.file_stem().and_then(|stem| stem.to_str());
        if let Some(arms) = log.and_then(|stem| stem.strip_prefix("events-")) {
            name += &format!(" {arms}");
        }
        let done = app
            .stages
            .iter()
            .filter(|stage| matches!(stage.progress, Progress::Done | Progress::Reused));
        let alerts = app.alerts();
        let (status, colour) = match &app.status {
            RunStatus::Waiting => ("waiting", Color::Gray),
            RunStatus::Running if app.is_paused => ("paused", Color::Yellow),
            RunStatus::Running | RunStatus::Stopping => ("running", Color::Green),
            RunStatus::Interrupted => ("interrupted", Color::Yellow),
            RunStatus::Failed(_) => ("failed", Color::Red),
            RunStatus::Finished => ("finished", Color::Green),
        };
        let what = match (
            alerts.first(),
            app.current.and_then(|at| app.stages.get(at)),
        ) {
            (Some(alert), _) => alert.clone(),
            (None, Some(stage)) => format!(
                "{} {} {}/{}",
                stage.arm,
                super::stage_label(stage.attention_ratio, stage.kind),
                stage.step,
                stage.steps
            ),
            (None, None) => String::new(),
        };
        let text = format!(
            "{} {name:<34} {status:<11} {:>7} {:>9.4} {:>9}  {what}",
            if row.is_marked { "*" } else { " " },
            format!("{}/{}", done.count(), app.stages.len()),
            app.last.loss,
            app.eta_ms().map_or("-".into(), duration),
        );
        let colour = if alerts.is_empty() {
            colour
        } else {
            Color::Red
        };
        Line::styled(text, self.theme.colour(colour))
    }

    /// Applies a key; `false` leaves. `Enter` is the caller's.
    fn key(&mut self, code: KeyCode) -> bool {
        let last = self.rows.len().saturating_sub(1);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.at = (self.at + 1).min(last),
            KeyCode::Char(' ') => {
                if let Some(row) = self.rows.get_mut(self.at) {
                    row.is_marked = !row.is_marked;
                }
            }
            _ => {}
        }
        true
    }
}

/// Run folders and the logs in them.
fn find(folder: &Path, depth: usize, logs: &mut Vec<(PathBuf, PathBuf)>) -> std::io::Result<()> {
    if folder.join(Manifest::FILE).is_file() {
        let files = EventLog::files(folder).unwrap_or_default();
        logs.extend(files.into_iter().map(|file| (folder.to_path_buf(), file)));
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // A folder below that may not be read holds no run for us.
            let _ = find(&entry.path(), depth - 1, logs);
        }
    }
    Ok(())
}

/// Shows every run below `folder` until the user leaves.
///
/// # Errors
/// If the folder or a log cannot be read, or the terminal not be drawn to.
pub fn show_all(folder: &Path) -> anyhow::Result<()> {
    let mut board = Board::new(folder, Theme::of_terminal())?;
    in_terminal(|terminal| {
        let mut searched = Instant::now();
        loop {
            if searched.elapsed() >= SEARCH {
                board.search()?;
                searched = Instant::now();
            }
            board.poll(TimedEvent::now_ms())?;
            terminal.draw(|frame| board.draw(frame.area(), frame.buffer_mut()))?;
            for key in typed(FRAME)? {
                let is_control_c =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if is_control_c {
                    return Ok(());
                }
                if key.code != KeyCode::Enter {
                    if !board.key(key.code) {
                        return Ok(());
                    }
                    continue;
                }
                let Some(row) = board.rows.get(board.at) else {
                    continue;
                };
                let others = board.rows.iter().enumerate();
                let others = others
                    .filter(|(index, other)| other.is_marked && *index != board.at)
                    .map(|(_, other)| LogReader::open_file(other.log.clone()));
                let shown = Shown {
                    source: Source::Log(LogReader::open_file(row.log.clone())?),
                    run_dir: &row.path,
                    requests: &Requests::of_log(&row.log),
                    others: others.collect::<Result<_, _>>()?,
                };
                show_in(terminal, shown, |_| true)?;
            }
        }
    })
}
