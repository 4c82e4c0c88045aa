//! The decode step on the CPU: first what the heads of a row share, then the heads in blocks. The
//! memory is updated in place. All sums run in a fixed order.

pub(crate) mod heads;
pub(crate) mod inputs;

use super::DecodeStepProblem;
use crate::host::output::Output;
use crate::host::tasks::for_each;

/// Channels in one task.
pub(crate) const TASK_CHANNELS: usize = 64;

/// Operands on the host that are read only.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) packed: &'a [f32],
}

/// The packed weights; those of absent ones are empty.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    conv_weight: &'a [f32],
    conv_bias: &'a [f32],
    dt_weight: &'a [f32],
    dt_bias: &'a [f32],
    a: &'a [f32],
    d: &'a [f32],
    norm_weight: &'a [f32],
}

impl<'a> Weights<'a> {
    pub(crate) fn new(packed: &'a [f32], p: &DecodeStepProblem) -> Self {
        let mut rest = packed;
        let [
            conv_weight,
            conv_bias,
            dt_weight,
            dt_bias,
            a,
            d,
            norm_weight,
        ] = p.packed_lengths().map(|length| {
            let (part, after) = rest.split_at(length);
            rest = after;
            part
        });
        Self {
            conv_weight,
            conv_bias,
            dt_weight,
            dt_bias,
            a,
            d,
            norm_weight,
        }
    }
}

/// What the heads of one row read, at query width; `T` is a slice, shared or not.
pub(crate) struct Inputs<T> {
    pub(crate) x: T,
    pub(crate) b: T,
    pub(crate) c: T,
    pub(crate) dt: T,
    /// `exp(dt a)`; unused if every state has its own.
    decay: T,
    /// Of the convolution, before x and b are repeated.
    filtered: T,
}

fn lengths(p: &DecodeStepProblem) -> [usize; 6] {
    let (c_width, nheads) = (p.shape.c_width, p.nheads);
    [
        p.d_inner(),
        c_width,
        c_width,
        nheads,
        nheads,
        p.conv_channels(),
    ]
}

impl<T> Inputs<T> {
    pub(crate) fn new([x, b, c, dt, decay, filtered]: [T; 6]) -> Self {
        Self {
            x,
            b,
            c,
            dt,
            decay,
            filtered,
        }
    }
}

impl<'a> Inputs<&'a mut [f32]> {
    fn cut(mut rest: &'a mut [f32], p: &DecodeStepProblem) -> Self {
        Self::new(lengths(p).map(|length| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            part
        }))
    }
}

impl<'a> Inputs<&'a [f32]> {
    fn view(mut rest: &'a [f32], p: &DecodeStepProblem) -> Self {
        Self::new(lengths(p).map(|length| {
            let (part, after) = rest.split_at(length);
            rest = after;
            part
        }))
    }
}

/// Fills `y` and moves `window` and `state` on by one token.
pub(crate) fn forward(
    operands: &Operands<'_>,
    p: &DecodeStepProblem,
    window: &mut [f32],
    state: &mut [f32],
    y: &mut [f32],
) {
    let weights = Weights::new(operands.packed, p);
    let length = lengths(p).iter().sum::<usize>();
    let mut scratch = vec![0.0; p.batch * length];
    let row_width = p.row_width();
    let row = |index: usize| &operands.rows[index * row_width..(index + 1) * row_width];

    let window_length = (p.d_conv - 1) * p.conv_channels();
    let (inputs, window) = (Output::new(&mut scratch), Output::new(window));
    let work = p.d_conv * p.conv_channels() + p.dt_width * p.nheads;
    for_each(p.batch, p.batch * work, |index| {
        // SAFETY: each task has its own row.
        let (inputs, window) = unsafe {
            let window = window.part(index * window_length, window_length);
            (inputs.part(index * length, length), window)
        };
        inputs::prepare(row(index), &weights, p, window, Inputs::cut(inputs, p));
    });

    let heads = TASK_CHANNELS.div_ceil(p.shape.headdim);
    let blocks = p.nheads.div_ceil(heads);
    let (state, y) = (Output::new(state), Output::new(y));
    let work = p.batch * p.d_inner() * p.shape.d_state;
    for_each(p.batch * blocks, work, |task| {
        let (index, first) = (task / blocks, task % blocks * heads);
        let block = first..p.nheads.min(first + heads);
        let at = index * p.d_inner() + first * p.shape.headdim;
        let channels = block.len() * p.shape.headdim;
        // SAFETY: each task has its own heads of its own row.
        let (state, y) = unsafe {
            let states = p.shape.d_state;
            let state = state.part(at * states, channels * states);
            (state, y.part(at, channels))
        };
        let inputs = Inputs::view(&scratch[index * length..(index + 1) * length], p);
        heads::run(&inputs, row(index), &weights, p, block, state, y);
    });
}
