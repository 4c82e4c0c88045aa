//! The selective scan in plain tensor operations, one step after the other (method 3.1).

use super::{SelectiveScanOperands, SelectiveScanProblem};
use crate::activation::{silu, silu_derivative, softplus};
use crate::backend::{StateSpaceGradients, StateSpaceOutput};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, activation::sigmoid, backend::Backend, ops::FloatTensor};

/// Repeats grouped `[batch, seq, ngroups, d_state]` for every channel,
/// `[batch, seq, d_inner, d_state]`.
fn per_channel<B: Backend>(grouped: Tensor<B, 4>, p: &SelectiveScanProblem) -> Tensor<B, 4> {
    let channels = p.d_inner / p.ngroups;
    grouped
        .reshape([p.batch, p.seq, p.ngroups, 1, p.d_state])
        .expand([p.batch, p.seq, p.ngroups, channels, p.d_state])
        .reshape([p.batch, p.seq, p.d_inner, p.d_state])
}

/// Sums `[batch, seq, d_inner, d_state]` over the channels of each group.
fn sum_groups<B: Backend>(channels: Tensor<B, 4>, p: &SelectiveScanProblem) -> Tensor<B, 4> {
    channels
        .reshape([p.batch, p.seq, p.ngroups, p.d_inner / p.ngroups, p.d_state])
        .sum_dim(3)
        .reshape([p.batch, p.seq, p.ngroups, p.d_state])
}

/// Sums over batch and time, `[d_inner]`.
fn sum_steps<B: Backend>(inner: Tensor<B, 3>) -> Tensor<B, 1> {
    inner.sum_dim(0).sum_dim(1).flatten(0, 2)
}

/// What both directions need; large tensors are `[batch, seq, d_inner, d_state]`.
struct Scan<B: Backend> {
    /// Step sizes with bias, before softplus, `[batch, seq, d_inner]`.
    dt_raw: Tensor<B, 3>,
    /// Step sizes, `[batch, seq, d_inner]`.
    dt: Tensor<B, 3>,
    b: Tensor<B, 4>,
    c: Tensor<B, 4>,
    /// `exp(dt a)`, zero where a document starts.
    decay: Tensor<B, 4>,
    /// State before the first step, `[batch, 1, d_inner, d_state]`.
    initial: Tensor<B, 4>,
    /// State after each step.
    states: Tensor<B, 4>,
}

impl<B: Backend> Scan<B> {
    fn run(
        operands: SelectiveScanOperands<B>,
        reset: Option<FloatTensor<B>>,
        p: &SelectiveScanProblem,
    ) -> Self {
        let [u, dt, a, b, c, _, _, dt_bias, initial_state] = operands;
        let u = wrap::<B, 3>(u);
        let device = u.device();
        let mut dt_raw = wrap::<B, 3>(dt);
        if p.has_dt_bias {
            dt_raw = dt_raw + wrap::<B, 1>(dt_bias).reshape([1, 1, p.d_inner]);
        }
        let dt = if p.dt_softplus {
            softplus(dt_raw.clone())
        } else {
            dt_raw.clone()
        };
        let b = per_channel(wrap(b), p);
        let c = per_channel(wrap(c), p);
        let a = wrap::<B, 2>(a).reshape([1, 1, p.d_inner, p.d_state]);

        let mut decay = (dt.clone().unsqueeze_dim::<4>(3) * a).exp();
        if let Some(reset) = reset {
            let keep = wrap::<B, 2>(reset).neg().add_scalar(1.0);
            decay = decay * keep.reshape([p.batch, p.seq, 1, 1]);
        }
        let input = (dt.clone() * u).unsqueeze_dim::<4>(3) * b.clone();

        let initial = match p.has_initial_state {
            true => wrap::<B, 3>(initial_state).unsqueeze_dim::<4>(1),
            false => Tensor::zeros([p.batch, 1, p.d_inner, p.d_state], &device),
        };
        let mut state = initial.clone();
        let mut states = Vec::with_capacity(p.seq);
        for t in 0..p.seq {
            state = decay.clone().narrow(1, t, 1) * state + input.clone().narrow(1, t, 1);
            states.push(state.clone());
        }
        let states = Tensor::cat(states, 1);
        Self {
            dt_raw,
            dt,
            b,
            c,
            decay,
            initial,
            states,
        }
    }

    /// Output before the gate, `[batch, seq, d_inner]`.
    fn ungated(
        &self,
        u: Tensor<B, 3>,
        d: FloatTensor<B>,
        p: &SelectiveScanProblem,
    ) -> Tensor<B, 3> {
        let s = (self.states.clone() * self.c.clone())
            .sum_dim(3)
            .squeeze_dim::<3>(3);
        match p.has_d {
            true => s + u * wrap::<B, 1>(d).reshape([1, 1, p.d_inner]),
            false => s,
        }
    }
}

/// Forward of [`selective_scan`](super::selective_scan()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: SelectiveScanOperands<B>,
    reset: Option<FloatTensor<B>>,
    p: &SelectiveScanProblem,
) -> StateSpaceOutput<B> {
    let [u, _, _, _, _, d, z, ..] = operands.clone();
    let scan = Scan::<B>::run(operands, reset, p);
    let mut y = scan.ungated(wrap(u), d, p);
    if p.has_z {
        y = y * silu(wrap::<B, 3>(z));
    }
    let last_state = scan.states.narrow(1, p.seq - 1, 1).squeeze_dim::<3>(1);
    StateSpaceOutput {
        y: unwrap(y),
        last_state: unwrap(last_state),
        saved: None,
    }
}

/// Gradients of [`selective_scan`](super::selective_scan()) with respect to its operands, by the
/// adjoint recurrence `lam_t = ds_t c_t + decay_{t+1} lam_{t+1}` (method 3.1).
pub fn backward<B: Backend>(
    operands: SelectiveScanOperands<B>,
    reset: Option<FloatTensor<B>>,
    gradients: StateSpaceGradients<B>,
    p: &SelectiveScanProblem,
) -> SelectiveScanOperands<B> {
    let [u, _, a, _, _, d, z, dt_bias, initial_state] = operands.clone();
    let scan = Scan::<B>::run(operands, reset, p);
    let u = wrap::<B, 3>(u);
    let device = u.device();

    let dy = match gradients.y {
        Some(dy) => wrap::<B, 3>(dy),
        None => Tensor::zeros(u.dims(), &device),
    };
    let (ds, dz) = match p.has_z {
        true => {
            let gate = wrap::<B, 3>(z);
            let s = scan.ungated(u.clone(), d.clone(), p);
            let dz = dy.clone() * s * silu_derivative(gate.clone());
            (dy * silu(gate), unwrap(dz))
        }
        false => (dy, z),
    };

    let direct = ds.clone().unsqueeze_dim::<4>(3) * scan.c;
    let mut carried = match gradients.last_state {
        Some(last_state) => wrap::<B, 3>(last_state).unsqueeze_dim::<4>(1),
        None => Tensor::zeros([p.batch, 1, p.d_inner, p.d_state], &device),
    };
    let mut adjoints = Vec::with_capacity(p.seq);
    for t in (0..p.seq).rev() {
        let adjoint = direct.clone().narrow(1, t, 1) + carried;
        carried = scan.decay.clone().narrow(1, t, 1) * adjoint.clone();
        adjoints.push(adjoint);
    }
    adjoints.reverse();
    let adjoints = Tensor::cat(adjoints, 1);

    let dc = sum_groups(ds.clone().unsqueeze_dim::<4>(3) * scan.states.clone(), p);
    let db = sum_groups(
        adjoints.clone() * (scan.dt.clone() * u.clone()).unsqueeze_dim::<4>(3),
        p,
    );
    let through_b = (adjoints.clone() * scan.b).sum_dim(3).squeeze_dim::<3>(3);
    let mut du = scan.dt.clone() * through_b.clone();

    // Not `h_t - dt_t b_t u_t`: where a step decays nearly all, that leaves rounding alone.
    let before = Tensor::cat(vec![scan.initial, scan.states], 1).narrow(1, 0, p.seq);
    let through_decay = adjoints * scan.decay * before;
    let rates = wrap::<B, 2>(a).reshape([1, 1, p.d_inner, p.d_state]);
    let mut ddt = (through_decay.clone() * rates)
        .sum_dim(3)
        .squeeze_dim::<3>(3);
    ddt = ddt + u.clone() * through_b;
    let da = (through_decay * scan.dt.unsqueeze_dim::<4>(3))
        .sum_dim(0)
        .sum_dim(1);
    if p.dt_softplus {
        ddt = ddt * sigmoid(scan.dt_raw);
    }

    let mut dd = d.clone();
    if p.has_d {
        du = du + ds.clone() * wrap::<B, 1>(d).reshape([1, 1, p.d_inner]);
        dd = unwrap(sum_steps(ds * u));
    }
    let ddt_bias = match p.has_dt_bias {
        true => unwrap(sum_steps(ddt.clone())),
        false => dt_bias,
    };
    let dinitial = match p.has_initial_state {
        true => unwrap(carried.squeeze_dim::<3>(1)),
        false => initial_state,
    };
    [
        unwrap(du),
        unwrap(ddt),
        unwrap(da.reshape([p.d_inner, p.d_state])),
        unwrap(db),
        unwrap(dc),
        dd,
        dz,
        ddt_bias,
        dinitial,
    ]
}
