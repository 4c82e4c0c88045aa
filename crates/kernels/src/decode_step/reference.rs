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
    let (dtype, window_dtype) = (rows.dtype(), window.dtype());
    let (rows, window) = (rows.cast(packed.dtype()), window.cast(packed.dtype()));
    let s = &p.shape;
    let (d_inner, channels) = (p.d_inner(), p.conv_channels());

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
    let filter = given(conv_weight).reshape([1, p.d_conv, channels]);
    let bias = given(conv_bias).reshape([1, channels]);
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
    }
    if !s.repeat_before_conv {
        b = repeat_b(b);
    }

    let dt = part(dt_at, p.dt_width);
    let dt = match dt_weight {
        Some(weight) => dt.matmul(weight.reshape([p.dt_width, p.nheads])),
        None => dt,
    };
    let dt = softplus(dt + given(dt_bias).reshape([1, p.nheads]));
    let dt = dt.reshape([p.batch, p.nheads, 1, 1]);
    let a_width = if p.a_is_per_state { s.d_state } else { 1 };
    let decay = (dt.clone() * given(a).reshape([1, p.nheads, 1, a_width])).exp();
    let by_head = [p.batch, p.nheads, 1, s.d_state];
    let shared = p.nheads / p.ngroups();
    let b = repeat(b, s.d_state, shared).reshape(by_head);
    let c = repeat(c, s.d_state, shared).reshape(by_head);
    let x = x.reshape([p.batch, p.nheads, s.headdim, 1]);
    let skip = x.clone() * given(d).reshape([1, p.nheads, 1, 1]);
    let state_dtype = state.dtype();
    let state = state.cast(packed.dtype());
    let state = state.reshape([p.batch, p.nheads, s.headdim, s.d_state]);
    let state = state * decay + (dt * x) * b;
    let mut y = ((state.clone() * c).sum_dim(3) + skip).reshape([p.batch, d_inner]);
    if s.has_z {
        y = y * silu(part(0, d_inner));
    }
    if let Some(weight) = norm_weight {
        let by_head = y.reshape([p.batch, p.nheads, s.headdim]);
        let scale = (by_head.clone() * by_head.clone())
            .mean_dim(2)
            .add_scalar(s.eps)
            .sqrt()
            .recip();
        y = (by_head * scale).reshape([p.batch, d_inner]) * weight.reshape([1, d_inner]);
    }
    let state = state.reshape([p.batch, d_inner, s.d_state]);
    [
        unwrap(y.cast(dtype)),
        unwrap(next_window.cast(window_dtype)),
        unwrap(state.cast(state_dtype)),
    ]
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
