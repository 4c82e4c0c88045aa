//! One sequence through a mixer in four ways, which must agree: as training runs it, in two pieces as a prefill, token by
//! token, and drafted among tokens that are dropped again.

use super::TensorCheck;
use super::host::device;
use crate::backend::SsmBackend;
use crate::causal_conv1d::{CausalConv1dInputs, causal_conv1d};
use crate::decode_step::self_test::{Case, Definition, Inputs, cases as all, host, tensor};
use crate::decode_step::{DecodeState, DecodeStep, DecodeStepProblem, decode_step};
use crate::gated_rms_norm::gated_rms_norm;
use crate::seeded::Seeded;
use crate::selective_scan::{SelectiveScanInputs, selective_scan};
use crate::self_test::F32_TOLERANCE;
use crate::ssd::{SsdInputs, SsdOptions, ssd};
use crate::verify::{Kept, VerifyState, verify};
use burn::backend::Autodiff;
use burn::tensor::Tensor;

/// Tokens of a sequence.
const SEQ: usize = 33;
/// Those of the first piece.
const PIECE: usize = 20;
/// Tokens of a round of drafts.
const ROUND: usize = 5;
/// The norm of one head of the cases, whose RMS is 2e-3, multiplies its rounding by 400, whichever way it is
/// computed.
const TOLERANCE: f64 = 5.0 * F32_TOLERANCE;

/// The mixers of the decode step in which nothing is repeated and dt is given by head: the operations over whole
/// sequences do neither.
pub(crate) fn cases() -> Vec<Case> {
    let is_plain = |case: &Case| {
        let s = &case.shape;
        s.x_width == case.d_inner() && s.b_width == s.c_width && case.dt_rank == 0
    };
    all().into_iter().filter(is_plain).collect()
}

/// The operations over the whole of `rows`, and what they leave.
fn whole<B: SsmBackend>(
    inputs: &Inputs,
    p: &DecodeStepProblem,
    state: DecodeState<B>,
    rows: Tensor<B, 3>,
) -> (Tensor<B, 3>, DecodeState<B>) {
    let s = &p.shape;
    let [batch, seq, _] = rows.dims();
    let vector = |index: usize| {
        let values = &inputs.weights[index];
        (!values.is_empty()).then(|| tensor::<B, 1>(values, [values.len()]))
    };
    let [x_at, b_at, c_at, dt_at] = p.columns();
    let part = |first, width| rows.clone().narrow(2, first, width);
    let (channels, d_inner) = (p.conv_channels(), p.d_inner());
    let filtered = causal_conv1d(
        CausalConv1dInputs {
            x: part(x_at, channels),
            weight: tensor(&inputs.weights[0], [channels, p.d_conv]),
            bias: vector(1),
            initial_window: Some(state.conv_window),
            reset: None,
        },
        true,
    )
    .expect("the shapes agree");
    let (filtered, conv_window) = (filtered.y, filtered.last_window);
    let x = filtered.clone().narrow(2, 0, d_inner);
    let [b, c] = [b_at, c_at].map(|at| match s.conv_covers_bc {
        true => filtered.clone().narrow(2, at - x_at, s.c_width),
        false => part(at, s.c_width),
    });
    let [b, c] = [b, c].map(|x| x.reshape([batch, seq, p.ngroups(), s.d_state]));
    let dt = part(dt_at, p.nheads);
    let z = s.has_z.then(|| part(0, d_inner));
    if p.a_is_per_state {
        let scan = SelectiveScanInputs {
            u: x,
            dt,
            a: tensor(&inputs.weights[4], [d_inner, s.d_state]),
            b,
            c,
            d: vector(5),
            z,
            dt_bias: vector(3),
            initial_state: Some(state.ssm_state),
            reset: None,
        };
        let scanned = selective_scan(scan, true).expect("the shapes agree");
        let state = DecodeState {
            conv_window,
            ssm_state: scanned.last_state,
        };
        return (scanned.y, state);
    }
    let by_head = [batch, seq, p.nheads, s.headdim];
    let by_state = [batch, p.nheads, s.headdim, s.d_state];
    let scan = SsdInputs {
        x: x.reshape(by_head),
        dt,
        a: tensor(&inputs.weights[4], [p.nheads]),
        b,
        c,
        d: vector(5),
        z: None,
        dt_bias: vector(3),
        initial_state: Some(state.ssm_state.reshape(by_state)),
        reset: None,
    };
    let scanned = ssd(scan, SsdOptions::default()).expect("the shapes agree");
    let y = scanned.y.reshape([batch, seq, d_inner]);
    let weight = vector(6).expect("Mamba2 has a norm");
    let z = z.expect("Mamba2 has a gate");
    let y = gated_rms_norm(y, z, weight, s.headdim, s.eps).expect("the shapes agree");
    let state = DecodeState {
        conv_window,
        ssm_state: scanned.last_state.reshape([batch, d_inner, s.d_state]),
    };
    (y, state)
}

/// Drafts a sequence: each round some tokens of it, then others, which are dropped.
fn drafted<B: SsmBackend>(
    case: &Case,
    step: &DecodeStep<B>,
    state: DecodeState<B>,
    sequence: &[f32],
) -> Vec<f32> {
    let (width, d_inner) = (case.row_width(), case.d_inner());
    let seq = sequence.len() / case.batch / width;
    let mut seeded = Seeded::new(5);
    let mut state = VerifyState::new(step, state);
    let mut outputs = vec![0.0; case.batch * seq * d_inner];
    let mut committed = vec![0; case.batch];
    let mut kept = vec![0; case.batch];
    while committed.iter().any(|&count| count < seq) {
        let mut rows = seeded.uniforms(case.batch * ROUND * width, -1.5, 1.5);
        let known = Kept::new(kept.clone(), &device::<B>());
        for (index, kept) in kept.iter_mut().enumerate() {
            let drawn = seeded.uniform(0.0, ROUND as f32 + 0.99) as usize;
            *kept = drawn.min(seq - committed[index]);
            let first = (index * seq + committed[index]) * width;
            let at = index * ROUND * width;
            let length = *kept * width;
            rows[at..at + length].copy_from_slice(&sequence[first..first + length]);
        }
        let y;
        let rows = tensor(&rows, [case.batch, ROUND, width]);
        (y, state) = verify(step, rows, state, &known).expect("the shapes agree");
        let y = host(y);
        for (index, committed) in committed.iter_mut().enumerate() {
            let first = (index * seq + *committed) * d_inner;
            let at = index * ROUND * d_inner;
            let length = kept[index] * d_inner;
            outputs[first..first + length].copy_from_slice(&y[at..at + length]);
            *committed += kept[index];
        }
    }
    outputs
}

/// The outputs of all four ways against the definition in f64.
pub(crate) fn check<B: SsmBackend>(case: &Case) -> Vec<TensorCheck> {
    let inputs = case.inputs(7);
    let (step, start) = (case.step::<B>(&inputs), case.state::<B>(&inputs));
    let (width, p) = (case.row_width(), step.sizes());
    let sequence = Seeded::new(5).uniforms(case.batch * SEQ * width, -1.5, 1.5);
    let rows = tensor::<B, 3>(&sequence, [case.batch, SEQ, width]);

    let lifted = |tensor: Tensor<B, 3>| Tensor::<Autodiff<B>, 3>::from_inner(tensor);
    let tracked = DecodeState {
        conv_window: lifted(start.conv_window.clone()),
        ssm_state: lifted(start.ssm_state.clone()).require_grad(),
    };
    let (train, _) = whole(&inputs, p, tracked, lifted(rows.clone()));

    let pieces = [(0, PIECE), (PIECE, SEQ - PIECE)];
    let [first, second] = pieces.map(|(at, length)| rows.clone().narrow(1, at, length));
    let (head, middle) = whole(&inputs, p, start.clone(), first);
    let (tail, _) = whole(&inputs, p, middle.clone(), second.clone());
    let prefill = Tensor::cat(vec![head.clone(), tail], 1);

    let (mut outputs, mut state) = (vec![head], middle);
    for token in 0..SEQ - PIECE {
        let row = second.clone().narrow(1, token, 1);
        let row = row.reshape([case.batch, width]);
        let y;
        (y, state) = decode_step(&step, row, state).expect("the shapes agree");
        outputs.push(y.reshape([case.batch, 1, case.d_inner()]));
    }
    let stepped = Tensor::cat(outputs, 1);

    let definition = Definition::new(case, &inputs);
    let memories = definition.memories(&inputs).into_iter();
    let expected: Vec<f64> = memories
        .zip(sequence.chunks_exact(SEQ * width))
        .flat_map(|(mut memory, rows)| {
            let rows = rows.chunks_exact(width);
            let outputs = rows.map(|row| definition.step(&mut memory, row));
            outputs.collect::<Vec<_>>().concat()
        })
        .collect();
    let ways = [
        ("train", host(train.inner())),
        ("prefill", host(prefill)),
        ("step", host(stepped)),
        ("verify", drafted(case, &step, start, &sequence)),
    ];
    let check = |(way, got): (&str, Vec<f32>)| TensorCheck {
        tolerance: TOLERANCE,
        ..TensorCheck::new(way, &got, &expected)
    };
    ways.map(check).into()
}
