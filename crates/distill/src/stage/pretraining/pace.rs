//! How many steps fit into a time limit.

use std::collections::VecDeque;
use std::time::Duration;

/// Windows of steps that the speed is judged by.
const WINDOWS: usize = 8;

/// Steps that fit into a time limit, judged again after every window of steps: the first ones compile and tune kernels, and
/// tell little of the speed.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Duration,
    last: (usize, Duration),
    /// Seconds a step of the latest windows
    windows: VecDeque<f64>,
}

impl Pace {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            last: (0, Duration::ZERO),
            windows: VecDeque::with_capacity(WINDOWS),
        }
    }

    /// Steps in all that fit, after `step` steps in `elapsed`, at the speed of the fastest of the latest windows.
    pub(super) fn fit(&mut self, step: usize, elapsed: Duration) -> usize {
        let (last_step, last_elapsed) = self.last;
        if step > last_step {
            if self.windows.len() == WINDOWS {
                self.windows.pop_front();
            }
            let seconds = elapsed.saturating_sub(last_elapsed).as_secs_f64();
            self.windows.push_back(seconds / (step - last_step) as f64);
            self.last = (step, elapsed);
        }
        let fastest = self.windows.iter().copied().fold(f64::INFINITY, f64::min);
        let left = self.limit.saturating_sub(elapsed).as_secs_f64();
        step + (left / fastest.max(1e-9)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_first_steps_do_not_shorten_the_training() {
        let mut pace = Pace::new(Duration::from_secs(100));
        assert_eq!(pace.fit(10, Duration::from_secs(50)), 20);
        // From here on ten steps take a second.
        assert_eq!(pace.fit(20, Duration::from_secs(51)), 510);
        assert_eq!(pace.fit(500, Duration::from_secs(99)), 510);
        assert_eq!(pace.fit(510, Duration::from_secs(100)), 510);
        assert_eq!(pace.fit(520, Duration::from_secs(101)), 520);
    }

    #[test]
    fn old_windows_are_forgotten() {
        let mut pace = Pace::new(Duration::from_secs(1000));
        pace.fit(10, Duration::from_secs(1));
        for window in 1..=8 {
            pace.fit(10 + window, Duration::from_secs(1 + window as u64));
        }
        assert_eq!(pace.fit(19, Duration::from_secs(10)), 19 + 990);
    }
}
