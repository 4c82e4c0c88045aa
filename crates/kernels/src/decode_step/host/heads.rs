use super::{Inputs, Weights};
use crate::decode_step::DecodeStepProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use std::ops::Range;

dispatch! {
    /// Updates the states of some heads of a row and fills their part of the output.
    pub(crate) fn run(
        inputs: &Inputs<&[f32]>,
        row: &[f32],
        weights: &Weights<'_>,
        p: &DecodeStepProblem,
        heads: Range<usize>,
        state: &mut [f32],
        y: &mut [f32],
    ) = run_body
}

dispatch! {
    /// Updates the states of some heads only.
    pub(crate) fn replay(
        inputs: &Inputs<&[f32]>,
        weights: &Weights<'_>,
        p: &DecodeStepProblem,
        heads: Range<usize>,
        state: &mut [f32],
    ) = replay_body
}

#[inline(always)]
fn replay_body<const FMA: bool>(
    inputs: &Inputs<&[f32]>,
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    heads: Range<usize>,
    state: &mut [f32],
) {
    match p.a_is_per_state {
        true => recur::<FMA, true, false>(inputs, weights, p, heads, state, &mut []),
        false => recur::<FMA, false, false>(inputs, weights, p, heads, state, &mut []),
    }
}

#[inline(always)]
fn run_body<const FMA: bool>(
    inputs: &Inputs<&[f32]>,
    row: &[f32],
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    heads: Range<usize>,
    state: &mut [f32],
    y: &mut [f32],
) {
    match p.a_is_per_state {
        true => recur::<FMA, true, true>(inputs, weights, p, heads.clone(), state, y),
        false => recur::<FMA, false, true>(inputs, weights, p, heads.clone(), state, y),
    }
    let first = heads.start * p.shape.headdim;
    if p.shape.has_z {
        let gates = row[first..first + y.len()].chunks(LANES);
        for (y, gate) in y.chunks_mut(LANES).zip(gates) {
            let gate = Lanes::load(gate);
            (Lanes::load(y) * gate * gate.sigmoid::<FMA>()).store(y);
        }
    }
    if p.has_norm {
        let weights = weights.norm_weight[first..].chunks_exact(p.shape.headdim);
        for (y, weight) in y.chunks_exact_mut(p.shape.headdim).zip(weights) {
            normalise::<FMA>(y, weight, p.shape.eps);
        }
    }
}

/// `OUTPUT` says whether `y` is filled; it is not touched otherwise.
#[inline(always)]
fn recur<const FMA: bool, const A_IS_PER_STATE: bool, const OUTPUT: bool>(
    inputs: &Inputs<&[f32]>,
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    heads: Range<usize>,
    state: &mut [f32],
    y: &mut [f32],
) {
    let (headdim, d_state) = (p.shape.headdim, p.shape.d_state);
    let shared = p.nheads / p.ngroups();
    let mut states = state.chunks_exact_mut(d_state);
    let mut outputs = y.iter_mut();
    for head in heads {
        let group = head / shared * d_state;
        let b = &inputs.b[group..group + d_state];
        let c = &inputs.c[group..group + d_state];
        let (dt, skip) = (inputs.dt[head], weights.d[head]);
        let rates = match A_IS_PER_STATE {
            true => &weights.a[head * d_state..(head + 1) * d_state],
            false => &[],
        };
        let decay = if A_IS_PER_STATE {
            0.0
        } else {
            inputs.decay[head]
        };
        let x = &inputs.x[head * headdim..(head + 1) * headdim];
        for (x, state) in x.iter().zip(states.by_ref()) {
            let line = Line {
                b,
                c,
                rates,
                dt: Lanes::splat(dt),
                decay: Lanes::splat(decay),
                input: Lanes::splat(dt * x),
            };
            let mut sum = Lanes::ZERO;
            // Whole blocks have a constant width, so that they stay in registers.
            let whole = d_state - d_state % LANES;
            for first in (0..whole).step_by(LANES) {
                sum = line.step::<FMA, A_IS_PER_STATE, OUTPUT>(first, LANES, state, sum);
            }
            if whole < d_state {
                sum = line.step::<FMA, A_IS_PER_STATE, OUTPUT>(whole, d_state - whole, state, sum);
            }
            if OUTPUT && let Some(y) = outputs.next() {
                *y = sum.sum() + skip * x;
            }
        }
    }
}

/// What the states of one channel meet.
struct Line<'a> {
    b: &'a [f32],
    c: &'a [f32],
    rates: &'a [f32],
    dt: Lanes,
    decay: Lanes,
    input: Lanes,
}

impl Line<'_> {
    /// Updates the states `first..first + width` and adds what they give to `sum`.
    #[inline(always)]
    fn step<const FMA: bool, const A_IS_PER_STATE: bool, const OUTPUT: bool>(
        &self,
        first: usize,
        width: usize,
        state: &mut [f32],
        sum: Lanes,
    ) -> Lanes {
        let decay = match A_IS_PER_STATE {
            true => (self.dt * Lanes::load(&self.rates[first..first + width])).exp::<FMA>(),
            false => self.decay,
        };
        let written = self.input * Lanes::load(&self.b[first..first + width]);
        let state = &mut state[first..first + width];
        let next = decay.mul_add::<FMA>(Lanes::load(state), written);
        next.store(state);
        match OUTPUT {
            true => next.mul_add::<FMA>(Lanes::load(&self.c[first..first + width]), sum),
            false => sum,
        }
    }
}

/// RMS norm of one head, in place.
#[inline(always)]
fn normalise<const FMA: bool>(y: &mut [f32], weight: &[f32], eps: f64) {
    let mut square = Lanes::ZERO;
    for part in y.chunks(LANES) {
        let part = Lanes::load(part);
        square = part.mul_add::<FMA>(part, square);
    }
    let scale = Lanes::splat(1.0 / (square.sum() / y.len() as f32 + eps as f32).sqrt());
    for (y, weight) in y.chunks_mut(LANES).zip(weight.chunks(LANES)) {
        (Lanes::load(y) * scale * Lanes::load(weight)).store(y);
    }
}
