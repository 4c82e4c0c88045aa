//! Lines of a person or of a script.
use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// What was typed.
pub(super) enum Line {
    /// A line, without its end
    Text(String),
    /// A line that was thrown away with Ctrl-C
    Cancelled,
    /// No more lines
    End,
}

/// Where lines come from: a terminal, with editing and the lines before, or anything else.
pub(super) enum Input {
    Terminal(Box<DefaultEditor>),
    Script(std::io::StdinLock<'static>),
}

impl Input {
    pub(super) fn open() -> anyhow::Result<Self> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            let editor = DefaultEditor::new().context("could not set up the terminal")?;
            return Ok(Self::Terminal(Box::new(editor)));
        }
        Ok(Self::Script(std::io::stdin().lock()))
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    pub(super) fn read(&mut self) -> anyhow::Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => {
                    // A history that takes no more lines loses this one alone.
                    let _ = editor.add_history_entry(line.as_str());
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Cancelled),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("could not read from the terminal"),
            },
            Self::Script(stdin) => {
                let mut line = String::new();
                let count = stdin.read_line(&mut line);
                Ok(match count.context("could not read stdin as UTF-8")? {
                    0 => Line::End,
                    _ => Line::Text(line),
                })
            }
        }
    }
}
