use kernels::testing::Seeded;

use super::*;

/// A device on which a plain step takes 1 ms and a round `[verify, draft]`: `verify + draft * K` ms, and a drafter that is
/// right with a probability, at each position alike.
struct Bench {
    round_ms: [f64; 2],
    acceptance: f32,
    seeded: Seeded,
}

impl Bench {
    fn new(round_ms: [f64; 2], acceptance: f32) -> Self {
        Self {
            round_ms,
            acceptance,
            seeded: Seeded::new(5),
        }
    }

    fn ms(&self, length: usize) -> f64 {
        match length {
            0 => 1.0,
            _ => self.round_ms[0] + self.round_ms[1] * length as f64,
        }
    }

    /// Draws `tokens` tokens and returns the time against that of plain steps, and how often each length was chosen.
    fn run(&mut self, auto: &mut AutoDraftLen, tokens: usize) -> (f64, Vec<usize>) {
        auto.begin(tokens);
        let (mut drawn, mut wall_ms) = (0, 0.0);
        let mut lengths = vec![0; auto.most() + 1];
        while drawn < tokens {
            let length = auto.choose();
            lengths[length] += 1;
            let mut accepted = 0;
            while accepted < length && self.seeded.uniform(0.0, 1.0) < self.acceptance {
                accepted += 1;
            }
            let mut round = Round::new(length);
            round.count(length, accepted);
            round.wall_ms = self.ms(length) * f64::from(self.seeded.uniform(0.95, 1.05));
            auto.observe(&round);
            wall_ms += round.wall_ms;
            drawn += 1 + accepted;
        }
        (tokens as f64 / wall_ms, lengths)
    }

    /// The best speedup of a constant length.
    fn best(&self) -> (usize, f64) {
        let speedup = |length: usize| {
            let a = f64::from(self.acceptance);
            let tokens: f64 = (0..=length).map(|power| a.powi(power as i32)).sum();
            (length, tokens / self.ms(length))
        };
        let lengths = (0..=8).map(speedup);
        lengths.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }
}

#[test]
fn it_comes_close_to_the_best_constant_length() {
    for (round_ms, acceptance) in [
        ([1.1, 0.1], 0.8),
        ([1.2, 0.02], 0.95),
        ([1.1, 0.3], 0.6),
        ([1.3, 0.1], 0.5),
        ([1.05, 0.6], 0.9),
    ] {
        let mut bench = Bench::new(round_ms, acceptance);
        let (speedup, lengths) = bench.run(&mut AutoDraftLen::new(8), 5_000);
        let (best, most) = bench.best();
        assert!(
            speedup > 0.94 * most,
            "{round_ms:?}, {acceptance}: {speedup} of {most} at {best}, {lengths:?}"
        );
    }
}

#[test]
fn a_drafter_that_does_not_pay_costs_at_most_two_percent() {
    for (round_ms, acceptance) in [
        ([1.2, 0.4], 0.2),
        ([1.2, 0.1], 0.0),
        ([3.0, 1.0], 0.9),
        ([9.0, 9.0], 0.1),
    ] {
        for tokens in [128, 1_000, 10_000] {
            let mut bench = Bench::new(round_ms, acceptance);
            let mut auto = AutoDraftLen::new(8);
            // Once, for the first rounds of each length are of the device's making.
            bench.run(&mut auto, 256);
            let (speedup, lengths) = bench.run(&mut auto, tokens);
            assert!(
                speedup > 0.98,
                "{round_ms:?}, {acceptance}, {tokens}: {speedup}, {lengths:?}"
            );
        }
    }
}

#[test]
fn it_turns_on_again_when_the_drafter_becomes_right() {
    let mut bench = Bench::new([1.1, 0.1], 0.0);
    let mut auto = AutoDraftLen::new(8);
    bench.run(&mut auto, 2_000);
    bench.acceptance = 0.9;
    bench.run(&mut auto, 2_000);
    let (speedup, lengths) = bench.run(&mut auto, 2_000);
    assert!(speedup > 1.8, "{speedup}, {lengths:?}");
}

#[test]
fn the_longest_length_is_kept_to() {
    let mut auto = AutoDraftLen::new(2);
    let (_, lengths) = Bench::new([1.0, 0.0], 1.0).run(&mut auto, 500);
    assert!(lengths[2] > 100, "{lengths:?}");
    let (_, lengths) = Bench::new([1.0, 0.0], 1.0).run(&mut AutoDraftLen::new(0), 50);
    assert_eq!(lengths, [50]);
}
