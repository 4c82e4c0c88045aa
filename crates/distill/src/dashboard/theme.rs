//! What a terminal can show: colours, and characters beyond ASCII.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

/// Colours of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colours {
    /// None at all.
    None,
    /// The sixteen that every terminal names.
    #[default]
    Sixteen,
    /// 256 or more.
    Many,
}

/// What a terminal can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Theme {
    /// Its colours.
    pub colours: Colours,
    /// Whether it shows ASCII alone.
    pub is_ascii: bool,
}

impl Theme {
    /// That of the terminal of this process, by its environment variables.
    pub fn of_terminal() -> Self {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let has_many = variable("COLORTERM")
            .is_some_and(|name| name.contains("24bit") || name.contains("true"))
            || term.contains("256color");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(&variable)
            .unwrap_or_default()
            .to_lowercase();
        Self {
            colours: match (variable("NO_COLOR").is_some() || term == "dumb", has_many) {
                (true, _) => Colours::None,
                (false, true) => Colours::Many,
                (false, false) => Colours::Sixteen,
            },
            is_ascii: !(cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8")),
        }
    }

    /// A colour, unless colours are off.
    pub fn colour(self, colour: Color) -> Style {
        match self.colours {
            Colours::None => Style::new(),
            _ => Style::new().fg(colour),
        }
    }

    /// How a share of 0 to 1 looks in a heat map: a character that gets denser, in colours that get brighter.
    pub fn heat(self, share: f64) -> (&'static str, Style) {
        const SHADES: [&str; 5] = [" ", "\u{2591}", "\u{2592}", "\u{2593}", "\u{2588}"];
        /// From dark blue to yellow, of the 256.
        const RAMP: [u8; 10] = [17, 19, 25, 31, 37, 71, 107, 143, 179, 220];
        const SIXTEEN: [Color; 5] = [
            Color::Blue,
            Color::Blue,
            Color::Cyan,
            Color::Green,
            Color::Yellow,
        ];
        let place = |count: usize| ((share * count as f64) as usize).min(count - 1);
        match self.colours {
            Colours::Many => (
                "\u{2588}",
                Style::new().fg(Color::Indexed(RAMP[place(RAMP.len())])),
            ),
            Colours::Sixteen => (
                SHADES[1 + place(SHADES.len() - 1)],
                Style::new().fg(SIXTEEN[place(SIXTEEN.len())]),
            ),
            Colours::None => (SHADES[1 + place(SHADES.len() - 1)], Style::new()),
        }
    }
}

/// Writes every character of an area in ASCII.
pub(super) fn to_ascii(area: Rect, buffer: &mut Buffer) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let cell = &mut buffer[(x, y)];
            if !cell.symbol().is_ascii() {
                let ascii = cell.symbol().chars().next().map_or(' ', ascii);
                cell.set_char(ascii);
            }
        }
    }
}

fn ascii(character: char) -> char {
    match character {
        '\u{2500}' | '\u{2013}' | '\u{2014}' => '-',
        '\u{2502}' => '|',
        '\u{2501}'..='\u{257f}' => '+',
        '\u{2588}' | '\u{2593}' => '#',
        '\u{2592}' => '=',
        '\u{2591}' => '.',
        '\u{2581}'..='\u{2587}' => '#',
        '\u{25b6}' => '>',
        '\u{2713}' => 'x',
        '\u{b7}' | '\u{2022}' => '.',
        '\u{2026}' => '.',
        '\u{2191}' => '^',
        '\u{2193}' => 'v',
        '\u{2190}' => '<',
        '\u{2192}' => '>',
        // Dots of a curve: by how high most of them stand.
        '\u{2800}' => ' ',
        braille @ '\u{2801}'..='\u{28ff}' => {
            let dots = braille as u32 - 0x2800;
            match (dots & 0b0001_1011 != 0, dots & 0b1110_0100 != 0) {
                (true, true) => ':',
                (true, false) => '\'',
                _ => '.',
            }
        }
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_can_be_shown() {
        let theme = |pairs: &[(&str, &str)]| {
            Theme::of(|name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_string())
            })
        };
        let is = |theme: Theme| (theme.colours, theme.is_ascii);
        assert_eq!(is(theme(&[])), (Colours::Sixteen, true));
        assert_eq!(
            is(theme(&[
                ("TERM", "xterm-256color"),
                ("LANG", "de_DE.UTF-8")
            ])),
            (Colours::Many, false)
        );
        let no_colour = [
            ("TERM", "xterm-256color"),
            ("NO_COLOR", "1"),
            ("LANG", "C.utf8"),
        ];
        assert_eq!(is(theme(&no_colour)), (Colours::None, false));
        let first_counts = [("LC_ALL", "C"), ("LANG", "en_US.UTF-8"), ("TERM", "xterm")];
        assert_eq!(is(theme(&first_counts)), (Colours::Sixteen, true));
    }

    #[test]
    fn shades_get_denser() {
        for colours in [Colours::None, Colours::Sixteen, Colours::Many] {
            let theme = Theme {
                colours,
                is_ascii: false,
            };
            assert_ne!(theme.heat(0.0), theme.heat(1.0));
            assert_eq!(theme.heat(1.0), theme.heat(2.0));
        }
    }
}
