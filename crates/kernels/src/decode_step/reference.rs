//! The decode step in plain tensor operations.

use super::{DecodeStepOperands, DecodeStepProblem};
use crate::activation::{silu, softplus};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// [`decode_step`](super::decode_step()) on primitives: output, next window, next state.
/// Differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: DecodeStepOperands<B>,
    p: &DecodeStepProblem,
) -> [FloatTensor<B>; 3] {
    let [rows, conv_window, ssm_state, packed] = operands;
    let (rows, window) = (wrap::<B, 2>(rows), wrap::<B, 3>(conv_window));
    let (state, packed) = (wrap::<B, 3>(ssm_state), wrap::<B, 1>(packed));
    let (dtype, window_dtype, state_dtype) = (rows.dtype(), window.dtype(), state.dtype());
    let (rows, window) = (rows.cast(packed.dtype()), window.cast(packed.dtype()));
    let state = state.cast(packed.dtype());
    let weights = Weights::new(packed, p);

    let (inputs, next_window) = prepare(&rows, window, &weights, p);
    let state = advance(state, &inputs, &weights, p);
    let y = output(&rows, &state, &inputs, &weights, p);
    [
        unwrap(y.cast(dtype)),
        unwrap(next_window.cast(window_dtype)),
        unwrap(state.cast(state_dtype)),
    ]
}

/// The packed weights; only those that a mixer may lack are optional.
pub(crate) struct Weights<B: Backend> {
    conv_weight: Tensor<B, 1>,
    conv_bias: Tensor<B, 1>,
    dt_weight: Option<Tensor<B, 1>>,
    dt_bias: Tensor<B, 1>,
    a: Tensor<B, 1>,
    d: Tensor<B, 1>,
    norm_weight: Option<Tensor<B, 1>>,
}

impl<B: Backend> Weights<B> {
    pub(crate) fn new(packed: Tensor<B, 1>, p: &DecodeStepProblem) -> Self {
        let mut first = 0;
        let [
            conv_weight,
            conv_bias,
            dt_weight,
            dt_bias,
            a,
            d,
            norm_weight,
        ] = p.packed_lengths().map(|length| {
            first += length;
            (length > 0).then(|| packed.clone().narrow(0, first - length, length))
        });
        let given = |part: Option<Tensor<B, 1>>| part.expect("never of length 0");
        Self {
            conv_weight: given(conv_weight),
            conv_bias: given(conv_bias),
            dt_weight,
            dt_bias: given(dt_bias),
            a: given(a),
            d: given(d),
            norm_weight,
        }
    }
}

/// What the states of one token meet.
pub(crate) struct Inputs<B: Backend> {
    /// `[batch, d_inner]`.
    pub(crate) x: Tensor<B, 2>,
    /// `[batch, c_width]`.
    pub(crate) b: Tensor<B, 2>,
    /// `[batch, c_width]`.
    pub(crate) c: Tensor<B, 2>,
    /// Step sizes, `[batch, nheads]`.
    pub(crate) dt: Tensor<B, 2>,
}

/// From the row of a token to what its states meet, and the next window.
pub(crate) fn prepare<B: Backend>(
    rows: &Tensor<B, 2>,
    window: Tensor<B, 3>,
    weights: &Weights<B>,
    p: &DecodeStepProblem,
) -> (Inputs<B>, Tensor<B, 3>) {
    let s = &p.shape;
    let channels = p.conv_channels();
    let [x_at, b_at, c_at, dt_at] = p.columns();
    let part = |first, width| rows.clone().narrow(1, first, width);
    let mut x = part(x_at, s.x_width);
    let mut b = part(b_at, s.b_width);
    let mut c = part(c_at, s.c_width);
    let repeat_x = |x| repeat(x, s.repeat_width, p.x_repeats());
    let repeat_b = |b| repeat(b, s.repeat_width, p.b_repeats());
    if s.repeat_before_conv {
        x = repeat_x(x);
        b = repeat_b(b);
    }
    let input = match s.conv_covers_bc {
        true => Tensor::cat(vec![x, b.clone(), c.clone()], 1),
        false => x,
    };
    let taps = Tensor::cat(vec![window, input.unsqueeze_dim::<3>(1)], 1); // [batch, d_conv, channels]
    let filter = weights.conv_weight.clone();
    let filter = filter.reshape([1, p.d_conv, channels]);
    let bias = weights.conv_bias.clone().reshape([1, channels]);
    let filtered = (taps.clone() * filter)
        .sum_dim(1)
        .reshape([p.batch, channels]);
    let filtered = silu(filtered + bias);
    let next_window = taps.narrow(1, 1, p.d_conv - 1);
    let [x_width, b_width] = p.conv_widths();
    x = filtered.clone().narrow(1, 0, x_width);
    if s.conv_covers_bc {
        b = filtered.clone().narrow(1, x_width, b_width);
        c = filtered.narrow(1, x_width + b_width, s.c_width);
    }
    if !s.repeat_before_conv {
        x = repeat_x(x);
        b = repeat_b(b);
    }

    let dt = part(dt_at, p.dt_width);
    let dt = match &weights.dt_weight {
        Some(weight) => dt.matmul(weight.clone().reshape([p.dt_width, p.nheads])),
        None => dt,
    };
    let dt = softplus(dt + weights.dt_bias.clone().reshape([1, p.nheads]));
    (Inputs { x, b, c, dt }, next_window)
}

/// The states `[batch, d_inner, d_state]` after one more token; c is not read.
pub(crate) fn advance<B: Backend>(
    state: Tensor<B, 3>,
    inputs: &Inputs<B>,
    weights: &Weights<B>,
    p: &DecodeStepProblem,
) -> Tensor<B, 3> {
    let s = &p.shape;
    let dt = inputs.dt.clone().reshape([p.batch, p.nheads, 1, 1]);
    let a_width = if p.a_is_per_state { s.d_state } else { 1 };
    let a = weights.a.clone().reshape([1, p.nheads, 1, a_width]);
    let decay = (dt.clone() * a).exp();
    let b = by_head(inputs.b.clone(), p);
    let x = inputs.x.clone();
    let x = x.reshape([p.batch, p.nheads, s.headdim, 1]);
    let state = state.reshape([p.batch, p.nheads, s.headdim, s.d_state]);
    let state = state * decay + (dt * x) * b;
    state.reshape([p.batch, p.d_inner(), s.d_state])
}

/// What a token reads from the states after it, gated and normalised, `[batch, d_inner]`.
pub(crate) fn output<B: Backend>(
    rows: &Tensor<B, 2>,
    state: &Tensor<B, 3>,
    inputs: &Inputs<B>,
    weights: &Weights<B>,
    p: &DecodeStepProblem,
) -> Tensor<B, 2> {
    let s = &p.shape;
    let d_inner = p.d_inner();
    let c = by_head(inputs.c.clone(), p);
    let x = inputs.x.clone();
    let x = x.reshape([p.batch, p.nheads, s.headdim, 1]);
    let skip = x * weights.d.clone().reshape([1, p.nheads, 1, 1]);
    let state = state.clone();
    let state = state.reshape([p.batch, p.nheads, s.headdim, s.d_state]);
    let mut y = ((state * c).sum_dim(3) + skip).reshape([p.batch, d_inner]);
    if s.has_z {
        y = y * silu(rows.clone().narrow(1, 0, d_inner));
    }
    if let Some(weight) = &weights.norm_weight {
        let by_head = y.reshape([p.batch, p.nheads, s.headdim]);
        let scale = (by_head.clone() * by_head.clone())
            .mean_dim(2)
            .add_scalar(s.eps)
            .sqrt()
            .recip();
        let weight = weight.clone().reshape([1, d_inner]);
        y = (by_head * scale).reshape([p.batch, d_inner]) * weight;
    }
    y
}

/// Gives b or c of the groups to their heads, `[batch, nheads, 1, d_state]`.
fn by_head<B: Backend>(x: Tensor<B, 2>, p: &DecodeStepProblem) -> Tensor<B, 4> {
    let d_state = p.shape.d_state;
    repeat(x, d_state, p.nheads / p.ngroups()).reshape([p.batch, p.nheads, 1, d_state])
}

/// Repeats each piece of `width` columns `times` times in place: `p0 p0 p1 p1 ..`.
fn repeat<B: Backend>(x: Tensor<B, 2>, width: usize, times: usize) -> Tensor<B, 2> {
    if times == 1 {
        return x;
    }
    let [batch, columns] = x.dims();
    x.reshape([batch, columns / width, 1, width])
        .expand([batch, columns / width, times, width])
        .reshape([batch, columns * times])
}
