//! A curve of any length in bounded memory.

/// Buckets at most: more points than any terminal has columns.
const CAPACITY: usize = 4096;

/// Steps that are near each other.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    first: usize,
    last: usize,
    count: u32,
    sum: f64,
    min: f64,
    max: f64,
}

impl Bucket {
    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }

    fn join(&mut self, other: &Self) {
        self.last = other.last;
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// `(step, value)` by rising steps. Every step has a point of its own until there are too many; from then on, neighbours share
/// one, always as many as a power of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    width: usize,
    buckets: Vec<Bucket>,
    last: Option<(usize, f64)>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            width: 1,
            buckets: Vec::new(),
            last: None,
        }
    }
}

impl Series {
    /// Adds a value. Those of `step` and later ones are replaced; one that is no number is left out.
    pub fn push(&mut self, step: usize, value: f64) {
        self.cut(step);
        if !value.is_finite() {
            return;
        }
        self.last = Some((step, value));
        let bucket = Bucket {
            first: step,
            last: step,
            count: 1,
            sum: value,
            min: value,
            max: value,
        };
        match self.buckets.last_mut() {
            Some(last) if last.first / self.width == step / self.width => last.join(&bucket),
            _ => self.buckets.push(bucket),
        }
        if self.buckets.len() > CAPACITY {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width *= 2;
        let mut joined: Vec<Bucket> = Vec::with_capacity(CAPACITY);
        for bucket in &self.buckets {
            match joined.last_mut() {
                Some(last) if last.first / self.width == bucket.first / self.width => {
                    last.join(bucket);
                }
                _ => joined.push(*bucket),
            }
        }
        self.buckets = joined;
    }

    /// Drops the points of `step` and later ones; a point that several steps share stays if the first of them does.
    pub fn cut(&mut self, step: usize) {
        if self.last.is_none_or(|(last, _)| last < step) {
            return;
        }
        while self.buckets.last().is_some_and(|last| last.first >= step) {
            self.buckets.pop();
        }
        self.last = self.buckets.last().map(|last| (last.last, last.mean()));
    }

    /// The newest point.
    pub fn last(&self) -> Option<(usize, f64)> {
        self.last
    }

    /// Points in memory.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// At most about two points for each of `columns`, of the steps between two: the least and the most of a column, so that no
    /// spike is lost; smoothed, an exponential mean over about `smoothing` of the steps there are.
    pub fn points(&self, steps: (f64, f64), columns: usize, smoothing: f64) -> Vec<(f64, f64)> {
        let columns = columns.max(1);
        let mut mean = None;
        let decay = (-1.0 / (smoothing * self.buckets.len() as f64).max(1e-9)).exp();
        let smoothed = self.buckets.iter().map(|bucket| {
            let value = bucket.mean();
            let next = match mean {
                Some(mean) if smoothing > 0.0 => decay * mean + (1.0 - decay) * value,
                _ => value,
            };
            mean = Some(next);
            (bucket, next)
        });
        let seen: Vec<(&Bucket, f64)> = smoothed
            .filter(|(bucket, _)| bucket.last as f64 >= steps.0 && bucket.first as f64 <= steps.1)
            .collect();
        let per_column = seen.len().div_ceil(columns);
        let mut points = Vec::with_capacity(2 * columns);
        for column in seen.chunks(per_column.max(1)) {
            let (first, last) = (column[0].0, column[column.len() - 1].0);
            let x = (first.first + last.last) as f64 / 2.0;
            if smoothing > 0.0 {
                let sum: f64 = column.iter().map(|(_, mean)| mean).sum();
                points.push((x, sum / column.len() as f64));
                continue;
            }
            let least = column.iter().map(|(bucket, _)| bucket.min);
            let most = column.iter().map(|(bucket, _)| bucket.max);
            let (least, most) = (
                least.fold(f64::INFINITY, f64::min),
                most.fold(f64::NEG_INFINITY, f64::max),
            );
            points.push((x, least));
            if most > least {
                points.push((x, most));
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(series: &Series, columns: usize) -> Vec<(f64, f64)> {
        series.points((0.0, 1e12), columns, 0.0)
    }

    #[test]
    fn steps_taken_again_replace_those_of_the_first_time() {
        let mut series = Series::default();
        for step in 1..=30 {
            series.push(step, step as f64);
        }
        series.push(21, 9.5);
        series.push(22, f64::NAN);
        assert_eq!((series.len(), series.last()), (21, Some((21, 9.5))));
        assert_eq!(whole(&series, 100)[20], (21.0, 9.5));
    }

    #[test]
    fn a_million_steps_stay_small_and_keep_their_spike() {
        let mut series = Series::default();
        for step in 1..=1_000_000 {
            series.push(step, if step == 654_321 { 99.0 } else { 1.0 });
        }
        assert!(series.len() <= CAPACITY);
        let points = whole(&series, 80);
        assert!(points.len() <= 160, "{}", points.len());
        let spike = points
            .iter()
            .find(|(_, y)| *y == 99.0)
            .expect("it is drawn");
        assert!((spike.0 - 654_321.0).abs() < 1e6 / 80.0, "{spike:?}");
        let smooth = series.points((0.0, 1e6), 80, 0.05);
        assert!(smooth.len() <= 80 && smooth.iter().all(|(_, y)| (1.0..2.0).contains(y)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bounds_are_those_of_the_values(values in proptest::collection::vec(-1e3_f64..1e3, 1..9000)) {
            let mut series = Series::default();
            for (step, value) in values.iter().enumerate() {
                series.push(step, *value);
            }
            let points = whole(&series, 60);
            let bounds = |values: &mut dyn Iterator<Item = f64>| {
                values.fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)))
            };
            prop_assert_eq!(
                bounds(&mut points.iter().map(|point| point.1)),
                bounds(&mut values.iter().copied())
            );
        }
    }
}
