//! Means with their errors, and differences between two models that answered the same items.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

/// Samples of a bootstrap.
const RESAMPLES: usize = 2000;
/// Seed of a bootstrap: the same numbers give the same interval.
const SEED: u64 = 0xb007;

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over the sample.
    pub mean: f64,
    /// Standard deviation of the sample (over `count - 1`) by the root of `count`; 0 for fewer than two values.
    pub standard_error: f64,
    /// Values in the sample.
    pub count: usize,
}

impl Estimate {
    /// Of a sample; the mean of none is 0.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = match count {
            0 | 1 => 0.0,
            _ => (squares / (count - 1) as f64 / count as f64).sqrt(),
        };
        Self {
            mean,
            standard_error,
            count,
        }
    }
}

/// An estimate with the interval that 95 % of the resampled ones fall into.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate from the items themselves.
    pub value: f64,
    /// Lower end, the 2.5th percentile.
    pub low: f64,
    /// Upper end, the 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// The interval after a monotonically rising function such as `exp`.
    pub fn map(self, function: impl Fn(f64) -> f64) -> Self {
        Self {
            value: function(self.value),
            low: function(self.low),
            high: function(self.high),
        }
    }
}

/// The ratio of two sums over items, `sum(numerator) / sum(denominator)`, with the interval of a bootstrap that draws items.
///
/// Paired: give as numerator the difference of two models on each item, and what one says of an item goes with what the other
/// says of it. `None` for no items or a denominator of 0.
pub fn bootstrap_ratio(numerator: &[f64], denominator: &[f64]) -> Option<Interval> {
    let items = numerator.len().min(denominator.len());
    let ratio = |items: &mut dyn Iterator<Item = usize>| {
        let (above, below) = items.fold((0.0, 0.0), |(above, below), item| {
            (above + numerator[item], below + denominator[item])
        });
        (below != 0.0).then(|| above / below)
    };
    let value = ratio(&mut (0..items))?;
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| ratio(&mut (0..items).map(|_| rng.random_range(0..items))))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[((drawn.len() - 1) as f64 * share).round() as usize];
    Some(Interval {
        value,
        low: at(0.025),
        high: at(0.975),
    })
}

/// The mean over items with the interval of a bootstrap; `None` for no items.
pub fn bootstrap_mean(values: &[f64]) -> Option<Interval> {
    bootstrap_ratio(values, &vec![1.0; values.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_sample() {
        let estimate = Estimate::of(&[1.0, 0.0, 1.0, 1.0]);
        assert_eq!(estimate.mean, 0.75);
        // Deviation sqrt(0.75 / 3) = 0.5, by the root of 4.
        assert!((estimate.standard_error - 0.25).abs() < 1e-12);
        assert_eq!(Estimate::of(&[2.0]).standard_error, 0.0);
    }

    #[test]
    fn the_interval_covers_the_normal_one() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 7)).collect();
        let estimate = Estimate::of(&values);
        let interval = bootstrap_mean(&values).unwrap();
        assert_eq!(interval.value, estimate.mean);
        for (end, sign) in [(interval.low, -1.96), (interval.high, 1.96)] {
            let expected = estimate.mean + sign * estimate.standard_error;
            assert!(
                (end - expected).abs() < 0.25 * estimate.standard_error,
                "{end} {expected}"
            );
        }
    }

    #[test]
    fn pairing_takes_out_what_both_share() {
        // Items differ by hundreds, the two models by 0.1 everywhere.
        let first: Vec<f64> = (0..50).map(|n| f64::from(n * n)).collect();
        let differences: Vec<f64> = first.iter().map(|value| (value + 0.1) - value).collect();
        let interval = bootstrap_mean(&differences).unwrap();
        assert!(
            interval.low > 0.0999 && interval.high < 0.1001,
            "{interval:?}"
        );
        assert_eq!(bootstrap_mean(&[]), None);
        assert_eq!(bootstrap_ratio(&[1.0], &[0.0]), None);
    }
}
