//! The causal convolution on the CPU (method 3.3): one task for each row and some blocks of sixteen
//! channels. All sums run in a fixed order.

use super::CausalConv1dProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::{Output, fold};
use crate::host::tasks::for_each;
use std::ops::Range;

/// Channels in one task.
const TASK_CHANNELS: usize = 4 * LANES;

/// Operands on the host; absent ones are not read.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) initial_window: &'a [f32],
    pub(crate) reset: Option<&'a [f32]>,
}

/// Gradients of the operands; those of absent ones are empty.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) initial_window: Vec<f32>,
}

/// Where the tasks write; the gradients of `weight` and `bias` have a leading axis of rows.
struct Outputs<'a> {
    x: Output<'a>,
    weight: Output<'a>,
    bias: Output<'a>,
    initial_window: Output<'a>,
}

/// Fills `y`.
pub(crate) fn forward(operands: &Operands<'_>, p: &CausalConv1dProblem, y: &mut [f32]) {
    let y = Output::new(y);
    for_each_task(p, |row, channels| {
        forward_task(operands, p, row, channels, &y);
    });
}

/// Gradients from that of `y`.
pub(crate) fn backward(operands: &Operands<'_>, p: &CausalConv1dProblem, dy: &[f32]) -> Gradients {
    let zeros = |has: bool, length: usize| vec![0.0f32; if has { length } else { 0 }];
    let mut g = Gradients {
        x: zeros(true, operands.x.len()),
        weight: zeros(true, p.batch * p.channels * p.width),
        bias: zeros(p.has_bias, p.batch * p.channels),
        initial_window: zeros(p.has_initial_window, p.batch * (p.width - 1) * p.channels),
    };
    let out = Outputs {
        x: Output::new(&mut g.x),
        weight: Output::new(&mut g.weight),
        bias: Output::new(&mut g.bias),
        initial_window: Output::new(&mut g.initial_window),
    };
    for_each_task(p, |row, channels| {
        backward_task(operands, p, row, channels, dy, &out);
    });
    fold(&mut g.weight, p.channels * p.width);
    fold(&mut g.bias, p.channels);
    g
}

fn for_each_task(p: &CausalConv1dProblem, run: impl Fn(usize, Range<usize>) + Sync) {
    let tasks = p.channels.div_ceil(TASK_CHANNELS);
    let work = p.batch * p.seq * p.channels * p.width;
    for_each(p.batch * tasks, work, |task| {
        let first = task % tasks * TASK_CHANNELS;
        run(task / tasks, first..p.channels.min(first + TASK_CHANNELS));
    });
}

/// Where the input of `back` steps before `t` lies.
enum Source {
    X(usize),
    Window(usize),
}

/// First channel of the input `back` steps before step `t`.
#[inline(always)]
fn source(p: &CausalConv1dProblem, row: usize, t: usize, back: usize) -> Source {
    match back <= t {
        true => Source::X((row * p.seq + t - back) * p.channels),
        false => Source::Window((row * (p.width - 1) + p.width - 1 + t - back) * p.channels),
    }
}

/// Taps that count at each step of a row: those inside its document, and inside the sequence if
/// there is no window.
fn reaches(operands: &Operands<'_>, p: &CausalConv1dProblem, row: usize) -> Vec<usize> {
    let mut reach = if p.has_initial_window { p.width } else { 0 };
    (0..p.seq)
        .map(|t| {
            reach = p.width.min(reach + 1);
            if operands
                .reset
                .is_some_and(|reset| reset[row * p.seq + t] != 0.0)
            {
                reach = 1;
            }
            reach
        })
        .collect()
}

/// Filter taps of `channels`, the current step first.
fn taps(operands: &Operands<'_>, p: &CausalConv1dProblem, channels: Range<usize>) -> Vec<Lanes> {
    let mut taps = vec![Lanes::ZERO; p.width];
    for (lane, channel) in channels.enumerate() {
        let filter = &operands.weight[channel * p.width..(channel + 1) * p.width];
        for (tap, value) in taps.iter_mut().zip(filter.iter().rev()) {
            tap.0[lane] = *value;
        }
    }
    taps
}

/// One block of channels: its part of a row of channels, its taps and bias.
struct Block {
    channels: Range<usize>,
    taps: Vec<Lanes>,
    bias: Lanes,
}

impl Block {
    fn cut(operands: &Operands<'_>, p: &CausalConv1dProblem, channels: Range<usize>) -> Vec<Self> {
        channels
            .clone()
            .step_by(LANES)
            .map(|first| {
                let channels = first..channels.end.min(first + LANES);
                let bias = match p.has_bias {
                    true => Lanes::load(&operands.bias[channels.clone()]),
                    false => Lanes::ZERO,
                };
                Self {
                    taps: taps(operands, p, channels.clone()),
                    channels,
                    bias,
                }
            })
            .collect()
    }

    #[inline(always)]
    fn load(&self, values: &[f32], row: usize) -> Lanes {
        Lanes::load(&values[row + self.channels.start..row + self.channels.end])
    }

    #[inline(always)]
    fn input(&self, operands: &Operands<'_>, source: Source) -> Lanes {
        match source {
            Source::X(row) => self.load(operands.x, row),
            Source::Window(row) => self.load(operands.initial_window, row),
        }
    }

    /// Filtered input before SiLU.
    #[inline(always)]
    fn filter<const FMA: bool>(
        &self,
        operands: &Operands<'_>,
        p: &CausalConv1dProblem,
        row: usize,
        t: usize,
        reach: usize,
    ) -> Lanes {
        let mut v = self.bias;
        for (back, tap) in self.taps[..reach].iter().enumerate() {
            v = self
                .input(operands, source(p, row, t, back))
                .mul_add::<FMA>(*tap, v);
        }
        v
    }
}

dispatch! {
    fn forward_task(
        operands: &Operands<'_>,
        p: &CausalConv1dProblem,
        row: usize,
        channels: Range<usize>,
        y: &Output<'_>,
    ) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &CausalConv1dProblem,
    row: usize,
    channels: Range<usize>,
    y: &Output<'_>,
) {
    let blocks = Block::cut(operands, p, channels.clone());
    for (t, reach) in reaches(operands, p, row).into_iter().enumerate() {
        let first = (row * p.seq + t) * p.channels + channels.start;
        // SAFETY: this task alone writes these channels of this row.
        let out = unsafe { y.part(first, channels.len()) };
        for (block, out) in blocks.iter().zip(out.chunks_mut(LANES)) {
            let v = block.filter::<FMA>(operands, p, row, t, reach);
            if p.silu { v * v.sigmoid::<FMA>() } else { v }.store(out);
        }
    }
}

dispatch! {
    fn backward_task(
        operands: &Operands<'_>,
        p: &CausalConv1dProblem,
        row: usize,
        channels: Range<usize>,
        dy: &[f32],
        out: &Outputs<'_>,
    ) = backward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &CausalConv1dProblem,
    row: usize,
    channels: Range<usize>,
    dy: &[f32],
    out: &Outputs<'_>,
) {
    let blocks = Block::cut(operands, p, channels);
    let mut dtaps = vec![Lanes::ZERO; blocks.len() * p.width];
    let mut dbias = vec![Lanes::ZERO; blocks.len()];
    for (t, reach) in reaches(operands, p, row).into_iter().enumerate() {
        let at = (row * p.seq + t) * p.channels;
        let sums = dtaps.chunks_exact_mut(p.width).zip(&mut dbias);
        for (block, (dtaps, dbias)) in blocks.iter().zip(sums) {
            let mut dv = block.load(dy, at);
            if p.silu {
                let v = block.filter::<FMA>(operands, p, row, t, reach);
                let gate = v.sigmoid::<FMA>();
                let one = Lanes::splat(1.0);
                dv = dv * gate * (v * (one - gate) + one);
            }
            *dbias = *dbias + dv;
            for (back, dtap) in dtaps[..reach].iter_mut().enumerate() {
                let from = source(p, row, t, back);
                let (out, first) = match from {
                    Source::X(first) => (&out.x, first),
                    Source::Window(first) => (&out.initial_window, first),
                };
                // SAFETY: this task alone writes these channels of this row.
                let dx = unsafe { out.part(first + block.channels.start, block.channels.len()) };
                dv.mul_add::<FMA>(block.taps[back], Lanes::load(dx))
                    .store(dx);
                *dtap = block.input(operands, from).mul_add::<FMA>(dv, *dtap);
            }
        }
    }
    for ((block, dtaps), dbias) in blocks.iter().zip(dtaps.chunks_exact(p.width)).zip(dbias) {
        let first = row * p.channels + block.channels.start;
        // SAFETY: this task alone writes these channels of this row.
        unsafe {
            let filters = out
                .weight
                .part(first * p.width, block.channels.len() * p.width);
            for (lane, filter) in filters.chunks_exact_mut(p.width).enumerate() {
                for (value, dtap) in filter.iter_mut().rev().zip(dtaps) {
                    *value = dtap.0[lane];
                }
            }
            if p.has_bias {
                dbias.store(out.bias.part(first, block.channels.len()));
            }
        }
    }
}
