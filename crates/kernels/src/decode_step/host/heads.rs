use super::{Inputs, Weights};
use crate::decode_step::DecodeStepProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use std::ops::Range;

dispatch! {
    /// Updates the states of some heads of a row and fills their part of the output.
    pub(super) fn run(
        inputs: &Inputs<&[f32]>,
        row: &[f32],
        weights: &Weights<'_>,
        p: &DecodeStepProblem,
        heads: Range<usize>,
        state: &mut [f32],
        y: &mut [f32],
    ) = run_body
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
        true => recur::<FMA, true>(inputs, weights, p, heads.clone(), state, y),
        false => recur::<FMA, false>(inputs, weights, p, heads.clone(), state, y),
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

#[inline(always)]
fn recur<const FMA: bool, const A_IS_PER_STATE: bool>(
    inputs: &Inputs<&[f32]>,
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    heads: Range<usize>,
    state: &mut [f32],
    y: &mut [f32],
) {
    let (headdim, d_state) = (p.shape.headdim, p.shape.d_state);
    let shared = p.nheads / p.ngroups();
    let mut channels = state.chunks_exact_mut(d_state).zip(y);
    for head in heads {
        let group = head / shared * d_state;
        let b = &inputs.b[group..group + d_state];
        let c = &inputs.c[group..group + d_state];
        let (dt, skip) = (inputs.dt[head], weights.d[head]);
        let rates = match A_IS_PER_STATE {
            true => &weights.a[head * d_state..(head + 1) * d_state],
            false => &[],
        };
        let mut decay = Lanes::splat(inputs.decay[head]);
        let x = &inputs.x[head * headdim..(head + 1) * headdim];
        for (x, (state, y)) in x.iter().zip(channels.by_ref()) {
            let input = Lanes::splat(dt * x);
            let mut sum = Lanes::ZERO;
            for first in (0..d_state).step_by(LANES) {
                let part = first..d_state.min(first + LANES);
                if A_IS_PER_STATE {
                    let rates = Lanes::load(&rates[part.clone()]);
                    decay = (Lanes::splat(dt) * rates).exp::<FMA>();
                }
                let written = input * Lanes::load(&b[part.clone()]);
                let line = &mut state[part.clone()];
                let next = decay.mul_add::<FMA>(Lanes::load(line), written);
                next.store(line);
                sum = next.mul_add::<FMA>(Lanes::load(&c[part]), sum);
            }
            *y = sum.sum() + skip * x;
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
