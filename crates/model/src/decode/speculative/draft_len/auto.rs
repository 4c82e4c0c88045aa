//! The draft length that pays most, by measured times and acceptance.

use super::Round;

/// Plain steps whose times are needed, all but one of them of the present call. Of other lengths one round is enough: a trial may be
/// dear.
const PLAIN_STEPS: usize = 3;
/// Rounds with drafts before a plain step is measured again.
const PLAIN_AGAIN: usize = 48;
/// Last times kept of each length; their median is its cost.
const REMEMBERED: usize = 9;
/// What an observation of acceptance weighs after one more round.
const DECAY: f64 = 0.99;
/// Observations that the pooled acceptance counts for at a position.
const PRIOR: f64 = 4.0;
/// Share of the time of a call that rounds may lose against plain steps.
const ALLOWED_LOSS: f64 = 0.012;
/// Tokens of a round against those of the plain steps in its time, at which speculation goes on once it pays.
const HOLD: f64 = 0.985;
/// Rounds of a trial.
const TRIAL: usize = 4;
/// Plain steps before a length that did not pay is tried again, at first and at most.
const PAUSE: [usize; 2] = [32, 1024];
/// First length tried.
const FIRST: usize = 4;

/// Chooses K so that tokens per time are most: with `a_i` the share of drafts accepted at position `i` of those reached and `t_K` the
/// time of a round, `(1 + a_1 + a_1 a_2 + ... + a_1..a_K) / t_K`, against `1 / t_0` for a plain step.
///
/// Rounds that are slower than the plain steps they replace are paid from a small share of the call's time; when it is spent, or no
/// length pays, only plain steps follow, and now and then a trial.
#[derive(Clone, Debug)]
pub struct AutoDraftLen {
    /// By length, 0 for plain steps
    costs: Vec<Cost>,
    /// Drafts reached and accepted at each position
    positions: Vec<[f64; 2]>,
    expected_tokens: f64,
    elapsed_ms: f64,
    lost_ms: f64,
    since_plain: usize,
    /// Rounds that the choice stays with speculation whatever was measured
    trial: usize,
    is_on: bool,
    waited: usize,
    pause: usize,
}

/// Times of the rounds of one length, without the first, for which a GPU may compile.
#[derive(Clone, Debug, Default)]
struct Cost {
    rounds: usize,
    last_ms: Vec<f64>,
}

impl Cost {
    fn observe(&mut self, wall_ms: f64) {
        self.rounds += 1;
        if self.rounds == 1 {
            return;
        }
        if self.last_ms.len() == REMEMBERED {
            self.last_ms.remove(0);
        }
        self.last_ms.push(wall_ms);
    }

    fn ms(&self) -> Option<f64> {
        let mut sorted = self.last_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

impl AutoDraftLen {
    /// Lengths from 0 to `most`.
    pub fn new(most: usize) -> Self {
        Self {
            costs: vec![Cost::default(); most + 1],
            positions: vec![[0.0; 2]; most],
            expected_tokens: 0.0,
            elapsed_ms: 0.0,
            lost_ms: 0.0,
            since_plain: 0,
            trial: 0,
            is_on: true,
            waited: 0,
            pause: PAUSE[0],
        }
    }

    /// The greatest length.
    pub fn most(&self) -> usize {
        self.positions.len()
    }

    pub(super) fn begin(&mut self, max_tokens: usize) {
        self.expected_tokens = max_tokens as f64;
        self.elapsed_ms = 0.0;
        self.lost_ms = 0.0;
        // Another load, another context: what plain steps took before tells little.
        let plain = &mut self.costs[0].last_ms;
        plain.drain(..plain.len().saturating_sub(1));
    }

    /// Takes in what a round took and brought.
    pub fn observe(&mut self, round: &Round) {
        let wall_ms = match self.costs[round.draft_len].rounds {
            // What a device does once for a length is no loss of speculation.
            0 => self.predicted(round.draft_len).unwrap_or(0.0),
            _ => round.wall_ms,
        };
        self.costs[round.draft_len].observe(round.wall_ms);
        self.since_plain = match round.draft_len {
            0 => 0,
            _ => self.since_plain + 1,
        };
        if round.draft_len > 0 {
            for counts in self.positions.iter_mut().flatten() {
                *counts *= DECAY;
            }
            for [drafted, accepted] in &round.sequences {
                for at in 0..(*drafted).min(accepted + 1) {
                    self.positions[at][0] += 1.0;
                    self.positions[at][1] += f64::from(u8::from(at < *accepted));
                }
            }
        }
        self.elapsed_ms += wall_ms;
        if let (1.., Some(plain_ms)) = (round.draft_len, self.costs[0].ms())
            && wall_ms > 0.0
        {
            self.lost_ms += wall_ms - round.tokens() * plain_ms;
        }
    }

    /// The length of the next round.
    pub fn choose(&mut self) -> usize {
        let plain = &self.costs[0];
        let is_known = plain.last_ms.len() >= PLAIN_STEPS && self.since_plain < PLAIN_AGAIN;
        let Some(plain_ms) = plain.ms().filter(|_| is_known) else {
            return 0;
        };
        let call_ms = self.elapsed_ms.max(self.expected_tokens * plain_ms);
        if self.lost_ms > ALLOWED_LOSS * call_ms {
            return 0;
        }
        let Some((best, rate)) = self.best(plain_ms) else {
            return FIRST.min(self.most());
        };
        let pays = rate * plain_ms;
        if self.trial == 0 {
            self.is_on = pays > if self.is_on { HOLD } else { 1.0 };
        }
        if self.is_on {
            self.trial = self.trial.saturating_sub(1);
            if pays > 1.0 {
                self.pause = PAUSE[0];
            }
            return best;
        }
        self.waited += 1;
        let loss_ms = self.tokens(best) * (1.0 / rate - plain_ms);
        if self.waited < self.pause || self.lost_ms + loss_ms > ALLOWED_LOSS * call_ms {
            return 0;
        }
        self.waited = 0;
        self.pause = (2 * self.pause).min(PAUSE[1]);
        self.is_on = true;
        self.trial = TRIAL - 1;
        best
    }

    /// Time of a round, by what other lengths took; none if no other was measured.
    fn predicted(&self, length: usize) -> Option<f64> {
        let ms = self.ms(length, &|at| self.costs.get(at)?.ms());
        (length > 0 && ms.is_finite() && self.costs[1..].iter().any(|cost| cost.ms().is_some()))
            .then_some(ms)
    }

    /// The length with most tokens per millisecond, among those measured and their neighbours; none if none was measured.
    fn best(&self, plain_ms: f64) -> Option<(usize, f64)> {
        let measured = |length: usize| match length {
            0 => Some(plain_ms),
            _ => self.costs.get(length)?.ms(),
        };
        let is_near = |length: &usize| {
            (length - 1..=length + 1).any(|near| near > 0 && measured(near).is_some())
        };
        let candidates = (1..=self.most()).filter(is_near);
        let rates =
            candidates.map(|length| (length, self.tokens(length) / self.ms(length, &measured)));
        rates.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// Expected tokens of a round.
    fn tokens(&self, length: usize) -> f64 {
        let sum = |part: usize| {
            self.positions
                .iter()
                .map(|counts| counts[part])
                .sum::<f64>()
        };
        let pooled = (sum(1) + 0.5) / (sum(0) + 1.0);
        let mut reached = 1.0;
        let mut tokens = 1.0;
        for [seen, accepted] in &self.positions[..length] {
            reached *= (accepted + PRIOR * pooled) / (seen + PRIOR);
            tokens += reached;
        }
        tokens
    }

    /// Time of a round: as measured, or on the line through the nearest two lengths measured.
    fn ms(&self, length: usize, measured: &impl Fn(usize) -> Option<f64>) -> f64 {
        if let Some(ms) = measured(length) {
            return ms;
        }
        let below = (0..length).rev().find_map(|at| Some((at, measured(at)?)));
        let above = (length + 1..=self.most()).find_map(|at| Some((at, measured(at)?)));
        let (below, above) = match (below, above) {
            (Some(below), Some(above)) => (below, above),
            (Some((at, ms)), None) => {
                let lower = (0..at).rev().find_map(|at| Some((at, measured(at)?)));
                (lower.unwrap_or((at, ms)), (at, ms))
            }
            _ => return f64::INFINITY,
        };
        let ((from, from_ms), (to, to_ms)) = (below, above);
        let slope = (to_ms - from_ms) / (to - from).max(1) as f64;
        from_ms + slope * (length as f64 - from as f64)
    }
}

#[cfg(test)]
mod tests;
