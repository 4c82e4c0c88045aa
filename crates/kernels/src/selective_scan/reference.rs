//! The selective scan in plain tensor operations, one step after the other (method 3.1).

use super::{SelectiveScanOperands, SelectiveScanProblem};
use crate::activation::{silu, softplus};
use crate::backend::StateSpaceOutput;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Repeats grouped `[batch, seq, ngroups, d_state]` for every channel,
/// `[batch, seq, d_inner, d_state]`.
fn per_channel<B: Backend>(grouped: Tensor<B, 4>, p: &SelectiveScanProblem) -> Tensor<B, 4> {
    let channels = p.d_inner / p.ngroups;
    grouped
        .reshape([p.batch, p.seq, p.ngroups, 1, p.d_state])
        .expand([p.batch, p.seq, p.ngroups, channels, p.d_state])
        .reshape([p.batch, p.seq, p.d_inner, p.d_state])
}

/// Step sizes after bias and softplus.
fn step_sizes<B: Backend>(
    dt: Tensor<B, 3>,
    dt_bias: FloatTensor<B>,
    p: &SelectiveScanProblem,
) -> Tensor<B, 3> {
    let dt = match p.has_dt_bias {
        true => dt + wrap::<B, 1>(dt_bias).reshape([1, 1, p.d_inner]),
        false => dt,
    };
    if p.dt_softplus { softplus(dt) } else { dt }
}

/// Forward of [`selective_scan`](super::selective_scan) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: SelectiveScanOperands<B>,
    reset: Option<FloatTensor<B>>,
    p: &SelectiveScanProblem,
) -> StateSpaceOutput<B> {
    let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
    let u = wrap::<B, 3>(u);
    let device = u.device();
    let dt = step_sizes(wrap(dt), dt_bias, p);
    let b = per_channel(wrap(b), p);
    let c = per_channel(wrap(c), p);
    let a = wrap::<B, 2>(a).reshape([1, 1, p.d_inner, p.d_state]);

    let mut decay = (dt.clone().unsqueeze_dim::<4>(3) * a).exp();
    if let Some(reset) = reset {
        let keep = wrap::<B, 2>(reset).neg().add_scalar(1.0);
        decay = decay * keep.reshape([p.batch, p.seq, 1, 1]);
    }
    let input = (dt * u.clone()).unsqueeze_dim::<4>(3) * b;

    let mut state = match p.has_initial_state {
        true => wrap::<B, 3>(initial_state).unsqueeze_dim::<4>(1),
        false => Tensor::zeros([p.batch, 1, p.d_inner, p.d_state], &device),
    };
    let mut states = Vec::with_capacity(p.seq);
    for t in 0..p.seq {
        state = decay.clone().narrow(1, t, 1) * state + input.clone().narrow(1, t, 1);
        states.push(state.clone());
    }
    let states = Tensor::cat(states, 1); // [batch, seq, d_inner, d_state]

    let mut y = (states * c).sum_dim(3).squeeze_dim::<3>(3);
    if p.has_d {
        y = y + u * wrap::<B, 1>(d).reshape([1, 1, p.d_inner]);
    }
    if p.has_z {
        y = y * silu(wrap::<B, 3>(z));
    }
    StateSpaceOutput {
        y: unwrap(y),
        last_state: unwrap(state.squeeze_dim::<3>(1)),
        saved: None,
    }
}
