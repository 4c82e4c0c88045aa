//! A bar for the stage under way, below the lines of what is done, on a terminal without a dashboard.
use indicatif::{ProgressBar, ProgressStyle};

use super::PlainLines;
use crate::run::{Event, TimedEvent};

/// The bar and the lines above it, on stderr.
pub(super) struct Bars {
    lines: PlainLines,
    bar: ProgressBar,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self {
            lines: PlainLines::new(),
            bar: ProgressBar::hidden(),
        }
    }

    /// Shows what the event says.
    pub fn apply(&mut self, timed: &TimedEvent) {
        match &timed.event {
            Event::StageStarted { steps, .. } => {
                self.say(timed);
                self.bar.finish_and_clear();
                self.bar = ProgressBar::new(*steps as u64).with_style(style());
            }
            Event::Step {
                step,
                loss,
                tokens_per_s,
                ..
            } => {
                self.bar.set_position(*step as u64);
                self.bar
                    .set_message(format!("loss {loss:.4}, {tokens_per_s:.0} tokens/s"));
            }
            Event::StageFinished { .. } => {
                self.bar.finish_and_clear();
                self.say(timed);
            }
            // How it ended is said once, by whoever called.
            event if event.is_ending() => self.bar.finish_and_clear(),
            _ => self.say(timed),
        }
    }

    fn say(&mut self, timed: &TimedEvent) {
        if let Some(line) = self.lines.line(timed) {
            self.bar.suspend(|| super::session::print(&line));
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("  {bar:30} {pos}/{len} {msg} (ETA {eta})")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
