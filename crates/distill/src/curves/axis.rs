//! A vertical axis: linear, or logarithmic where values differ by more than a factor of two.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Ticks at most.
const TICKS: usize = 8;

/// An axis over some values, as wide as they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    is_log: bool,
    /// Heights of the ends, which grow evenly.
    ends: (f64, f64),
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis for all of `values`; `None` when there are none.
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let least = values.clone().reduce(f64::min)?;
        let most = values.reduce(f64::max)?;
        let is_log = least > 0.0 && most > 2.0 * least;
        let height = |value: f64| if is_log { value.ln() } else { value };
        let (low, high) = (height(least), height(most));
        let margin = match high - low {
            0.0 => low.abs().max(1.0) * 0.1,
            range => range * 0.04,
        };
        let ends = (low - margin, high + margin);
        let ticks = match is_log {
            true => log_ticks(ends.0.exp(), ends.1.exp()),
            false => linear_ticks(ends.0, ends.1),
        };
        Some(Self {
            is_log,
            ends,
            ticks,
        })
    }

    /// Share of the axis that is below a value.
    fn share(&self, value: f64) -> f64 {
        let height = if self.is_log { value.ln() } else { value };
        (height - self.ends.0) / (self.ends.1 - self.ends.0)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.share(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        match self.is_log {
            true => self.ends.0.exp()..self.ends.1.exp(),
            false => self.ends.0..self.ends.1,
        }
    }
}

impl ValueFormatter<f64> for Axis {
    /// Three digits.
    fn format(value: &f64) -> String {
        let size = value.abs().max(f64::MIN_POSITIVE).log10().floor();
        let decimals = (2.0 - size).clamp(0.0, 6.0) as usize;
        let text = format!("{value:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').into(),
            false => text,
        }
    }
}

/// Round numbers between two, as many as there is room for.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    const STEPS: [&[f64]; 4] = [
        &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0],
    ];
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let between = |steps: &&[f64]| -> Vec<f64> {
        let all = decades
            .clone()
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let fitting = STEPS.iter().map(between).find(|ticks| ticks.len() <= TICKS);
    fitting.unwrap_or_default()
}

/// Multiples of a round number between two.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let least = (high - low) / TICKS as f64;
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    let step = steps.into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * decade);
    let ticks = (low / step).ceil() as i64..=(high / step).floor() as i64;
    ticks.map(|tick| tick as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(values: &[f64]) -> Vec<String> {
        let axis = Axis::over(values.iter().copied()).expect("there are values");
        axis.ticks.iter().map(Axis::format).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&[1.9, 8.1]), ["2", "2.5", "3", "4", "5", "6", "8"]);
        assert_eq!(labels(&[0.04, 31.0]), ["0.1", "1", "10"]);
        assert_eq!(
            labels(&[0.651, 0.693]),
            ["0.65", "0.66", "0.67", "0.68", "0.69"]
        );
        assert_eq!(
            labels(&[0.0, 3.0]),
            ["0", "0.5", "1", "1.5", "2", "2.5", "3"]
        );
        assert!(Axis::over(std::iter::empty()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_and_ticks_are_on_the_axis(
            values in proptest::collection::vec(1e-3_f64..1e4, 1..20),
            below in prop_oneof![Just(0.0), Just(5.0)],
        ) {
            let values: Vec<f64> = values.into_iter().map(|value| value - below).collect();
            let axis = Axis::over(values.iter().copied()).unwrap();
            prop_assert!((1..=TICKS + 1).contains(&axis.ticks.len()), "{:?}", axis);
            for value in values.iter().chain(&axis.ticks) {
                prop_assert!((0.0..=1.0).contains(&axis.share(*value)), "{} {:?}", value, axis);
            }
            prop_assert!(axis.ticks.is_sorted());
        }
    }
}
