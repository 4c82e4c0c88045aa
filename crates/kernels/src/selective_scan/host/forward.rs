use super::{Block, Blocks, CHUNK, Operands};
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::Output;
use crate::host::tasks::for_each;
use crate::selective_scan::SelectiveScanProblem;

/// Fills `y`, `last_state` and, unless it is empty, `saved`.
pub(crate) fn forward(
    operands: &Operands<'_>,
    p: &SelectiveScanProblem,
    y: &mut [f32],
    last_state: &mut [f32],
    saved: &mut [f32],
) {
    let blocks = Blocks::new(p);
    let save = !saved.is_empty();
    let (y, last_state, saved) = (Output::new(y), Output::new(last_state), Output::new(saved));
    let work = p.batch * p.seq * p.d_inner * p.d_state;
    for_each(p.batch * blocks.count, work, |task| {
        let (row, block) = (task / blocks.count, blocks.get(task % blocks.count));
        let length = p.seq.div_ceil(CHUNK) * p.d_state * LANES;
        // SAFETY: each task has its own row and channels.
        let saved = match save {
            true => unsafe { saved.part(task * length, length) },
            false => &mut [],
        };
        run_block(operands, p, row, block, &y, &last_state, saved);
    });
}

dispatch! {
    fn run_block(
        operands: &Operands<'_>,
        p: &SelectiveScanProblem,
        row: usize,
        block: Block,
        y: &Output<'_>,
        last_state: &Output<'_>,
        saved: &mut [f32],
    ) = block_body
}

#[inline(always)]
fn block_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SelectiveScanProblem,
    row: usize,
    block: Block,
    y: &Output<'_>,
    last_state: &Output<'_>,
    saved: &mut [f32],
) {
    let d_state = p.d_state;
    let mut rates = vec![Lanes::ZERO; d_state];
    block.load_states(operands.a, 0, d_state, &mut rates);
    let mut states = vec![Lanes::ZERO; d_state];
    if p.has_initial_state {
        let start = row * p.d_inner * d_state;
        block.load_states(operands.initial_state, start, d_state, &mut states);
    }
    let (rates, states) = (&rates[..d_state], &mut states[..d_state]);
    let optional = |has: bool, values: &[f32]| match has {
        true => block.load(values, 0),
        false => Lanes::ZERO,
    };
    let skip = optional(p.has_d, operands.d);
    let bias = optional(p.has_dt_bias, operands.dt_bias);

    for t in 0..p.seq {
        let step = row * p.seq + t;
        if operands.reset.is_some_and(|reset| reset[step] != 0.0) {
            states.fill(Lanes::ZERO);
        }
        if !saved.is_empty() && t % CHUNK == 0 {
            let first = t / CHUNK * p.d_state * LANES;
            for (state, out) in states.iter().zip(saved[first..].chunks_exact_mut(LANES)) {
                state.store(out);
            }
        }
        let u = block.load(operands.u, step * p.d_inner);
        let mut dt = block.load(operands.dt, step * p.d_inner) + bias;
        if p.dt_softplus {
            dt = dt.softplus::<FMA>();
        }
        let input = dt * u;
        let mut sum = skip * u;
        let grouped = (step * p.ngroups + block.group) * p.d_state;
        let b = &operands.b[grouped..grouped + d_state];
        let c = &operands.c[grouped..grouped + d_state];
        for n in 0..d_state {
            let decay = (dt * rates[n]).exp::<FMA>();
            let state = decay.mul_add::<FMA>(states[n], input * Lanes::splat(b[n]));
            states[n] = state;
            sum = state.mul_add::<FMA>(Lanes::splat(c[n]), sum);
        }
        if p.has_z {
            let z = block.load(operands.z, step * p.d_inner);
            sum = sum * z * z.sigmoid::<FMA>();
        }
        // SAFETY: this task alone writes these channels of this row.
        sum.store(unsafe { y.part(step * p.d_inner + block.first, block.width) });
    }

    let start = (row * p.d_inner + block.first) * p.d_state;
    // SAFETY: as above.
    let out = unsafe { last_state.part(start, block.width * p.d_state) };
    for (n, state) in states.iter().enumerate() {
        for lane in 0..block.width {
            out[lane * p.d_state + n] = state.0[lane];
        }
    }
}
