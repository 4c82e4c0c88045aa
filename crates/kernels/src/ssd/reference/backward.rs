use super::Chunks;
use crate::activation::{silu, silu_derivative};
use crate::backend::StateSpaceGradients;
use crate::primitive::{unwrap, wrap};
use crate::ssd::{SsdOperands, SsdProblem};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Sums from each entry to the end of the last axis.
fn reverse_cumsum<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    tensor.flip([-1]).cumsum(D - 1).flip([-1])
}

/// Sums over batch and time, `[nheads]`.
fn sum_steps<B: Backend>(heads: Tensor<B, 3>) -> Tensor<B, 1> {
    heads.sum_dim(0).sum_dim(1).flatten(0, 2)
}

/// Gradients of [`ssd`](crate::ssd()) with respect to its operands, chunk by chunk (method 3.2).
pub fn backward<B: Backend>(
    operands: SsdOperands<B>,
    reset: Option<FloatTensor<B>>,
    gradients: StateSpaceGradients<B>,
    p: &SsdProblem,
) -> SsdOperands<B> {
    let [x, _, a, _, _, d, z, dt_bias, initial_state] = operands.clone();
    let f = Chunks::<B>::run(operands, reset, p);
    let steps = wrap::<B, 4>(x.clone());
    let device = steps.device();
    let n_chunks = f.grid.chunks;

    let dy = match gradients.y {
        Some(dy) => wrap::<B, 4>(dy),
        None => Tensor::zeros(steps.dims(), &device),
    };
    let (ds, dz) = match p.has_z {
        true => {
            let gate = wrap::<B, 4>(z);
            let dz = dy.clone() * f.ungated(x, d.clone(), p) * silu_derivative(gate.clone());
            (dy * silu(gate), unwrap(dz))
        }
        false => (dy, z),
    };
    let dys = f.grid.by_chunk(ds.clone());

    // Inside a chunk.
    let dmixing = dys.clone().matmul(f.x.clone().swap_dims(3, 4));
    let mut dx = f.mixing().swap_dims(3, 4).matmul(dys.clone());
    let through_scores = dmixing * f.decay.clone();
    let dscores = through_scores.clone() * f.dt.clone().unsqueeze_dim::<5>(3);
    let mut dc = dscores.clone().matmul(f.b.clone());
    let mut db = dscores.swap_dims(3, 4).matmul(f.c.clone());
    let per_pair = through_scores * f.scores.clone(); // without dt_s
    let mut ddt = per_pair.clone().sum_dim(3).squeeze_dim::<4>(3);
    let weighted = per_pair * f.dt.clone().unsqueeze_dim::<5>(3);
    let mut dcum = weighted.sum_dim(4).squeeze_dim::<4>(4) - ddt.clone() * f.dt.clone();

    // From the state entering the chunk.
    let entering = f.entering(p);
    let dys = dys * f.from_start.clone().unsqueeze_dim::<5>(4);
    let through_entering = dys.clone().matmul(entering);
    dcum = dcum
        + (through_entering.clone() * f.c.clone())
            .sum_dim(4)
            .squeeze_dim::<4>(4);
    dc = dc + through_entering;
    let dentering = dys.swap_dims(3, 4).matmul(f.c); // [.., headdim, d_state]

    // Between chunks.
    let flat = [p.batch, p.nheads, n_chunks, p.headdim * p.d_state];
    let flat_last = [p.batch, p.nheads, 1, p.headdim * p.d_state];
    let dlast = match gradients.last_state {
        Some(last_state) => wrap::<B, 4>(last_state).reshape(flat_last),
        None => Tensor::zeros(flat_last, &device),
    };
    let dstates = Tensor::cat(vec![dentering.reshape(flat), dlast], 2);
    let dsources = f.between.clone().swap_dims(2, 3).matmul(dstates.clone());
    let dbetween = dstates.matmul(f.sources.swap_dims(2, 3)) * f.between;
    let dsums =
        dbetween.clone().sum_dim(3).squeeze_dim::<3>(3) - dbetween.sum_dim(2).squeeze_dim::<3>(2);
    let dtotal = reverse_cumsum(dsums).narrow(2, 1, n_chunks); // [batch, nheads, chunks]
    let dadded = dsources
        .clone()
        .narrow(2, 1, n_chunks)
        .reshape([p.batch, p.nheads, n_chunks, p.headdim, p.d_state]);

    // What each chunk adds to the state.
    let weights = f.to_end.clone() * f.dt.clone();
    let wide = weights.clone().unsqueeze_dim::<5>(4);
    dx = dx + (f.b.clone() * wide.clone()).matmul(dadded.clone().swap_dims(3, 4));
    let dweighted = f.x.matmul(dadded); // [.., chunk, d_state]
    let dweights = (dweighted.clone() * f.b).sum_dim(4).squeeze_dim::<4>(4);
    db = db + dweighted * wide;
    ddt = ddt + dweights.clone() * f.to_end;
    let through_weights = dweights * weights;
    dcum = dcum - through_weights.clone();
    let dtotal = dtotal.unsqueeze_dim::<4>(3) + through_weights.sum_dim(3);

    // Through the cumulative sums to the step sizes.
    let dlog_decay = reverse_cumsum(dcum) + dtotal;
    ddt = ddt + dlog_decay.clone() * wrap::<B, 1>(a).reshape([1, p.nheads, 1, 1]);
    let da = (dlog_decay * f.dt)
        .sum_dim(3)
        .sum_dim(2)
        .sum_dim(0)
        .reshape([p.nheads]);
    let mut ddt = f
        .grid
        .by_step(ddt.unsqueeze_dim::<5>(4), p.seq)
        .squeeze_dim::<3>(3);
    if p.dt_softplus {
        ddt = ddt * sigmoid(f.dt_raw);
    }

    let mut dx = f.grid.by_step(dx, p.seq);
    let mut dd = d.clone();
    if p.has_d {
        dx = dx + ds.clone() * wrap::<B, 1>(d).reshape([1, 1, p.nheads, 1]);
        dd = unwrap(sum_steps((ds * steps).sum_dim(3).squeeze_dim::<3>(3)));
    }
    let ddt_bias = match p.has_dt_bias {
        true => unwrap(sum_steps(ddt.clone())),
        false => dt_bias,
    };
    let dinitial = match p.has_initial_state {
        true => unwrap(
            dsources
                .narrow(2, 0, 1)
                .reshape([p.batch, p.nheads, p.headdim, p.d_state]),
        ),
        false => initial_state,
    };
    [
        unwrap(dx),
        unwrap(ddt),
        unwrap(da),
        unwrap(f.grid.sum_groups(db, p)),
        unwrap(f.grid.sum_groups(dc, p)),
        dd,
        dz,
        ddt_bias,
        dinitial,
    ]
}
