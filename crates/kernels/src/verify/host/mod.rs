//! Replay and new tokens on the CPU: first what the heads of a token share, then the heads in
//! blocks, whose states stay in cache from the first token to the last. All sums run in a fixed
//! order, that of the decode step.

use super::VerifyProblem;
use super::problem::{cache_width, cache_widths};
use crate::decode_step::host::{Inputs, TASK_CHANNELS, Weights, heads, inputs};
use crate::host::output::Output;
use crate::host::tasks::for_each;

/// Operands on the host that are read only.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) conv_inputs: &'a [f32],
    pub(crate) cache: &'a [f32],
    pub(crate) kept: &'a [f32],
    pub(crate) packed: &'a [f32],
}

/// What a call leaves beside the states, which are updated in place.
pub(crate) struct Results {
    pub(crate) y: Vec<f32>,
    pub(crate) conv_inputs: Vec<f32>,
    pub(crate) cache: Vec<f32>,
}

/// Runs a call; `states` holds those before the last one and those after it.
pub(crate) fn forward(operands: &Operands<'_>, p: &VerifyProblem, states: &mut [f32]) -> Results {
    let weights = Weights::new(operands.packed, &p.step);
    let conv_inputs = conv_inputs(operands, p);
    let (cache, decays) = prepare(operands, &weights, p, &conv_inputs);
    let replayed = replayed_decays(operands, &weights, p);
    let y = run(operands, &weights, p, states, [&cache, &decays, &replayed]);
    Results {
        y,
        conv_inputs,
        cache,
    }
}

/// The window of what was kept, then the raw inputs of the new tokens.
fn conv_inputs(operands: &Operands<'_>, p: &VerifyProblem) -> Vec<f32> {
    let channels = p.step.conv_channels();
    let window = (p.step.d_conv - 1) * channels;
    let old_length = p.conv_lines() * channels;
    let length = p.next_conv_lines() * channels;
    let row_width = p.step.row_width();
    let mut lines = vec![0.0; p.step.batch * length];
    let rows = operands.rows.chunks_exact(p.tokens * row_width);
    for (index, (lines, rows)) in lines.chunks_exact_mut(length).zip(rows).enumerate() {
        let first = index * old_length + operands.kept[index] as usize * channels;
        let (start, lines) = lines.split_at_mut(window);
        start.copy_from_slice(&operands.conv_inputs[first..first + window]);
        let rows = rows.chunks_exact(row_width);
        for (line, row) in lines.chunks_exact_mut(channels).zip(rows) {
            inputs::gather(row, &p.step, line);
        }
    }
    lines
}

/// What each new token brings to the states, and the decays of its heads.
fn prepare(
    operands: &Operands<'_>,
    weights: &Weights<'_>,
    p: &VerifyProblem,
    conv_inputs: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let step = &p.step;
    let (count, width, nheads) = (step.batch * p.tokens, cache_width(step), step.nheads);
    let (channels, row_width) = (step.conv_channels(), step.row_width());
    let window_length = (step.d_conv - 1) * channels;
    let mut cache = vec![0.0; count * width];
    let mut decays = vec![0.0; count * nheads];
    let mut scratch = vec![0.0; count * (window_length + channels)];
    let (into_cache, into_decays) = (Output::new(&mut cache), Output::new(&mut decays));
    let into_scratch = Output::new(&mut scratch);
    let work = count * (step.d_conv * channels + step.dt_width * nheads);
    for_each(count, work, |task| {
        let (index, token) = (task / p.tokens, task % p.tokens);
        // SAFETY: each task has its own token of its own sequence.
        let (entry, decay, scratch) = unsafe {
            let scratch = window_length + channels;
            (
                into_cache.part(task * width, width),
                into_decays.part(task * nheads, nheads),
                into_scratch.part(task * scratch, scratch),
            )
        };
        let (window, filtered) = scratch.split_at_mut(window_length);
        let first = (index * p.next_conv_lines() + token) * channels;
        window.copy_from_slice(&conv_inputs[first..first + window_length]);
        let mut rest = entry;
        let [x, b, c, dt] = cache_widths(step).map(|width| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(width);
            rest = after;
            part
        });
        let row = &operands.rows[task * row_width..(task + 1) * row_width];
        let inputs = Inputs::new([x, b, c, dt, decay, filtered]);
        inputs::prepare(row, weights, step, window, inputs);
    });
    (cache, decays)
}

/// Decays of the heads of the tokens that are replayed; empty if every state has its own.
fn replayed_decays(operands: &Operands<'_>, weights: &Weights<'_>, p: &VerifyProblem) -> Vec<f32> {
    let nheads = p.step.nheads;
    if p.step.a_is_per_state {
        return Vec::new();
    }
    let mut decays = vec![0.0; p.step.batch * p.cached * nheads];
    let entries = operands.cache.chunks_exact(cache_width(&p.step));
    for (index, (decays, entry)) in decays.chunks_exact_mut(nheads).zip(entries).enumerate() {
        let kept = operands.kept[index / p.cached] as usize;
        if kept < p.cached && index % p.cached < kept {
            inputs::decays(view(entry, &[], p).dt, weights, decays);
        }
    }
    decays
}

/// Moves the states on and returns the output of the new tokens.
fn run(
    operands: &Operands<'_>,
    weights: &Weights<'_>,
    p: &VerifyProblem,
    states: &mut [f32],
    [cache, decays, replayed]: [&[f32]; 3],
) -> Vec<f32> {
    let step = &p.step;
    let (width, row_width, d_inner) = (cache_width(step), step.row_width(), step.d_inner());
    let (nheads, d_state) = (step.nheads, step.shape.d_state);
    let decay_width = if step.a_is_per_state { 0 } else { nheads };
    let mut y = vec![0.0; step.batch * p.tokens * d_inner];
    let into_y = Output::new(&mut y);
    let (before, after) = states.split_at_mut(step.batch * d_inner * d_state);
    let (before, after) = (Output::new(before), Output::new(after));
    let heads = TASK_CHANNELS.div_ceil(step.shape.headdim);
    let blocks = nheads.div_ceil(heads);
    let work = step.batch * (p.tokens + p.cached) * d_inner * d_state;
    for_each(step.batch * blocks, work, |task| {
        let (index, first) = (task / blocks, task % blocks * heads);
        let block = first..nheads.min(first + heads);
        let (first, channels) = (first * step.shape.headdim, block.len() * step.shape.headdim);
        let at = (index * d_inner + first) * d_state;
        // SAFETY: each task has its own heads of its own sequence.
        let (start, state) = unsafe {
            let length = channels * d_state;
            (before.part(at, length), after.part(at, length))
        };
        let kept = operands.kept[index] as usize;
        if kept == p.cached {
            start.copy_from_slice(state);
        } else {
            for token in index * p.cached..index * p.cached + kept {
                let entry = &operands.cache[token * width..(token + 1) * width];
                let decay = &replayed[token * decay_width..(token + 1) * decay_width];
                let inputs = view(entry, decay, p);
                heads::replay(&inputs, weights, step, block.clone(), start);
            }
            state.copy_from_slice(start);
        }
        for token in index * p.tokens..(index + 1) * p.tokens {
            let entry = &cache[token * width..(token + 1) * width];
            let decay = &decays[token * nheads..(token + 1) * nheads];
            let row = &operands.rows[token * row_width..(token + 1) * row_width];
            // SAFETY: as above, of one token.
            let y = unsafe { into_y.part(token * d_inner + first, channels) };
            let inputs = view(entry, decay, p);
            heads::run(&inputs, row, weights, step, block.clone(), state, y);
        }
    });
    y
}

/// An entry of the cache, with the decays of its heads.
fn view<'a>(mut entry: &'a [f32], decay: &'a [f32], p: &VerifyProblem) -> Inputs<&'a [f32]> {
    let [x, b, c, dt] = cache_widths(&p.step).map(|width| {
        let (part, after) = entry.split_at(width);
        entry = after;
        part
    });
    Inputs::new([x, b, c, dt, decay, &[]])
}
