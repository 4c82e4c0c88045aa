//! Replay and new tokens in plain tensor operations.

use super::problem::cache_widths;
use super::{VerifyOperands, VerifyProblem};
use crate::decode_step::reference::{Inputs, Weights, advance, output, prepare};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Bool, Tensor, backend::Backend, ops::FloatTensor};

/// [`verify`](super::verify()) on primitives: output, next states, next inputs of the convolution,
/// next cache. Differentiable when `B` is.
pub fn forward<B: Backend>(operands: VerifyOperands<B>, p: &VerifyProblem) -> [FloatTensor<B>; 4] {
    let [rows, states, conv_inputs, cache, kept, packed] = operands;
    let (rows, states) = (wrap::<B, 3>(rows), wrap::<B, 4>(states));
    let (conv_inputs, cache) = (wrap::<B, 3>(conv_inputs), wrap::<B, 3>(cache));
    let (kept, packed) = (wrap::<B, 1>(kept), wrap::<B, 1>(packed));
    let (dtype, state_dtype, conv_dtype) = (rows.dtype(), states.dtype(), conv_inputs.dtype());
    let wide = packed.dtype();
    let (rows, states) = (rows.cast(wide), states.cast(wide));
    let conv_inputs = conv_inputs.cast(wide);
    let step = &p.step;
    let weights = Weights::new(packed, step);
    let state_dims = [step.batch, step.d_inner(), step.shape.d_state];
    let [before, after] = [0, 1].map(|at| states.clone().narrow(0, at, 1).reshape(state_dims));

    let mut start = before;
    for at in 0..p.cached {
        let inputs = cached(&cache, at, p);
        let next = advance(start.clone(), &inputs, &weights, step);
        let replayed = kept.clone().greater_elem(at as f32);
        start = start.mask_where(spread(replayed, state_dims), next);
    }
    let all = kept.clone().equal_elem(p.cached as f32);
    let start = start.mask_where(spread(all, state_dims), after);

    let earlier = step.d_conv - 1;
    let window_dims = [step.batch, earlier, step.conv_channels()];
    let mut window = conv_inputs.clone().narrow(1, 0, earlier);
    for count in 1..=p.cached {
        let here = kept.clone().equal_elem(count as f32);
        let later = conv_inputs.clone().narrow(1, count, earlier);
        window = window.mask_where(spread(here, window_dims), later);
    }

    let (mut state, mut lines) = (start.clone(), vec![window.clone()]);
    let (mut outputs, mut entries) = (Vec::new(), Vec::new());
    for token in 0..p.tokens {
        let row = rows.clone().narrow(1, token, 1);
        let row = row.reshape([step.batch, step.row_width()]);
        let (inputs, next_window) = prepare(&row, window, &weights, step);
        state = advance(state, &inputs, &weights, step);
        outputs.push(output(&row, &state, &inputs, &weights, step));
        let Inputs { x, b, c, dt } = inputs;
        entries.push(Tensor::cat(vec![x, b, c, dt], 1));
        lines.push(next_window.clone().narrow(1, earlier - 1, 1));
        window = next_window;
    }
    let states = Tensor::stack::<4>(vec![start, state], 0);
    [
        unwrap(Tensor::stack::<3>(outputs, 1).cast(dtype)),
        unwrap(states.cast(state_dtype)),
        unwrap(Tensor::cat(lines, 1).cast(conv_dtype)),
        unwrap(Tensor::stack::<3>(entries, 1)),
    ]
}

/// What the `at`-th token of the last call brought.
fn cached<B: Backend>(cache: &Tensor<B, 3>, at: usize, p: &VerifyProblem) -> Inputs<B> {
    let mut first = 0;
    let [x, b, c, dt] = cache_widths(&p.step).map(|width| {
        first += width;
        let part = cache.clone().narrow(1, at, 1);
        let part = part.narrow(2, first - width, width);
        part.reshape([p.step.batch, width])
    });
    Inputs { x, b, c, dt }
}

/// One claim a sequence, for all of its elements.
fn spread<B: Backend>(claim: Tensor<B, 1, Bool>, dims: [usize; 3]) -> Tensor<B, 3, Bool> {
    claim.reshape([dims[0], 1, 1]).expand(dims)
}
