//! What the user looks at, and how.
use crate::curves::Metric;

/// A page of the dashboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tab {
    /// The tree, loss and KL, the log.
    #[default]
    Overview,
    /// Every curve.
    Charts,
    /// Throughput, the parts of a step, memory.
    Speed,
    /// Which layers are what, and their gradients.
    Layers,
    /// What teacher and student say.
    Samples,
    /// The whole log.
    Log,
    /// Results, beside those of other runs.
    Compare,
}

impl Tab {
    /// All of them, by their keys from `1`.
    pub const ALL: [Self; 7] = [
        Self::Overview,
        Self::Charts,
        Self::Speed,
        Self::Layers,
        Self::Samples,
        Self::Log,
        Self::Compare,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Charts => "charts",
            Self::Speed => "speed",
            Self::Layers => "layers",
            Self::Samples => "samples",
            Self::Log => "log",
            Self::Compare => "compare",
        }
    }

    /// The one `steps` after it, around.
    pub fn turned(self, steps: usize) -> Self {
        Self::ALL[(self as usize + steps) % Self::ALL.len()]
    }
}

/// How curves are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChartLook {
    /// Whether values grow by factors.
    pub is_log: bool,
    /// How much is averaged: 0 is nothing, each one more about three times as much.
    pub smoothing: usize,
    /// How often the steps shown were halved.
    pub zoom: u32,
    /// Where the left end of what is shown is, in halves of its width from the right end.
    pub pan: u32,
    /// Whether the same stage of every student is drawn too.
    pub is_overlay: bool,
    /// The one metric that is drawn, in place of all.
    pub only: Option<Metric>,
}

impl ChartLook {
    /// Share of a stage that is averaged over.
    pub fn smoothing_share(self) -> f64 {
        [0.0, 0.01, 0.03, 0.1][self.smoothing]
    }

    /// First and last of `steps` steps that are shown.
    pub fn window(self, steps: usize) -> (f64, f64) {
        let steps = steps.max(2) as f64;
        let width = steps / f64::from(1_u32 << self.zoom);
        let end = (steps - f64::from(self.pan) * width / 2.0).max(width);
        ((end - width).max(1.0), end)
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Time since the start, and what happened.
    pub text: String,
    /// Whether it is about trouble.
    pub is_trouble: bool,
}

/// What is open and how it is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// The page.
    pub tab: Tab,
    /// Curves.
    pub chart: ChartLook,
    /// Text that lines of the log must have.
    pub filter: String,
    /// Whether that is being typed.
    pub is_typing: bool,
    /// Whether lines about trouble alone are shown.
    pub is_trouble_only: bool,
    /// Lines or samples scrolled: of the log from its end, of samples from their start.
    pub scroll: usize,
    /// Whether the key list is open.
    pub is_help_open: bool,
    /// Whether the question "stop?" is open.
    pub is_asking_to_stop: bool,
    /// What was done about the last request.
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stay_within_the_steps() {
        let look = |zoom, pan| ChartLook {
            zoom,
            pan,
            ..ChartLook::default()
        };
        assert_eq!(look(0, 0).window(100), (1.0, 100.0));
        assert_eq!(look(1, 0).window(100), (50.0, 100.0));
        assert_eq!(look(1, 1).window(100), (25.0, 75.0));
        assert_eq!(look(2, 99).window(100), (1.0, 25.0));
        assert_eq!(look(0, 0).window(0), (1.0, 2.0));
    }
}
