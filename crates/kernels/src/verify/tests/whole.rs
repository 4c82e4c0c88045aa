//! A whole sequence as training and prefill run it, against the same sequence drafted piece by
//! piece among tokens that are dropped again.

use crate::backend::SsmBackend;
use crate::causal_conv1d::{CausalConv1dInputs, causal_conv1d};
use crate::decode_step::self_test::{Case, Inputs, cases, host, tensor};
use crate::decode_step::{DecodeState, DecodeStepProblem};
use crate::gated_rms_norm::gated_rms_norm;
use crate::selective_scan::{SelectiveScanInputs, selective_scan};
use crate::ssd::{SsdInputs, SsdOptions, ssd};
use crate::testing::subject::Subject;
use crate::testing::{F32_TOLERANCE, Seeded, assert_close};
use crate::verify::{Kept, VerifyState, verify};
use burn::tensor::Tensor;

/// Tokens of a sequence.
const SEQ: usize = 33;
/// Tokens of a round.
const ROUND: usize = 5;
/// The norm of one head of the cases, whose RMS is 2e-3, multiplies its rounding by 400, in single
/// steps as here.
const TOLERANCE: f64 = 5.0 * F32_TOLERANCE;

/// The output of the operations over a whole sequence; nothing is repeated and dt is given by head.
fn whole<B: SsmBackend>(
    inputs: &Inputs,
    p: &DecodeStepProblem,
    state: DecodeState<B>,
    rows: Tensor<B, 3>,
) -> Tensor<B, 3> {
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
    );
    let filtered = filtered.unwrap().y;
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
        return selective_scan(scan, true).unwrap().y;
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
    let y = ssd(scan, SsdOptions::default()).unwrap().y;
    let y = y.reshape([batch, seq, d_inner]);
    let weight = vector(6).expect("Mamba2 has a norm");
    gated_rms_norm(y, z.expect("and a gate"), weight, s.headdim, s.eps).unwrap()
}

/// Drafts a sequence against the equations in f64 and, if that is wanted, against the operations over
/// the whole of it.
fn check<B: SsmBackend>(case: &Case, against_whole: bool) {
    let mut inputs = case.inputs(7);
    let (step, state) = (case.step::<B>(&inputs), case.state::<B>(&inputs));
    let (width, d_inner) = (case.row_width(), step.sizes().d_inner());
    let mut seeded = Seeded::new(5);
    let sequence = seeded.uniforms(case.batch * SEQ * width, -1.5, 1.5);
    let initial = state.clone();

    let mut state = VerifyState::new(&step, state);
    let mut outputs = vec![0.0; case.batch * SEQ * d_inner];
    let mut committed = vec![0; case.batch];
    let mut kept = vec![0; case.batch];
    while committed.iter().any(|&count| count < SEQ) {
        let mut rows = seeded.uniforms(case.batch * ROUND * width, -1.5, 1.5);
        let known = Kept::new(kept.clone(), &Default::default());
        for (index, kept) in kept.iter_mut().enumerate() {
            let drawn = seeded.uniform(0.0, ROUND as f32 + 0.99) as usize;
            *kept = drawn.min(SEQ - committed[index]);
            let first = (index * SEQ + committed[index]) * width;
            let at = index * ROUND * width;
            let length = *kept * width;
            rows[at..at + length].copy_from_slice(&sequence[first..first + length]);
        }
        let y;
        let rows = tensor(&rows, [case.batch, ROUND, width]);
        (y, state) = verify(&step, rows, state, &known).unwrap();
        let y = host(y);
        for (index, committed) in committed.iter_mut().enumerate() {
            let first = (index * SEQ + *committed) * d_inner;
            let at = index * ROUND * d_inner;
            let length = kept[index] * d_inner;
            outputs[first..first + length].copy_from_slice(&y[at..at + length]);
            *committed += kept[index];
        }
    }

    if against_whole {
        let rows = tensor(&sequence, [case.batch, SEQ, width]);
        let expected = host(whole(&inputs, step.sizes(), initial, rows));
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let name = format!("{case:?}: y of the whole");
        assert_close(&name, &outputs, &expected, TOLERANCE);
    }
    let by_token = |values: &[f32], width: usize| -> Vec<Vec<f32>> {
        let at = |token: usize| move |index: usize| (index * SEQ + token) * width;
        let token = |token| {
            let firsts = (0..case.batch).map(at(token));
            firsts
                .flat_map(|at| values[at..at + width].to_vec())
                .collect()
        };
        (0..SEQ).map(token).collect()
    };
    inputs.rows = by_token(&sequence, width);
    let [expected, ..] = case.naive(&inputs);
    let outputs = by_token(&outputs, d_inner).concat();
    assert_close(&format!("{case:?}: y"), &outputs, &expected, TOLERANCE);
}

#[test]
fn drafts_among_dropped_tokens_equal_the_whole_sequence() {
    let mut mixers = [false; 2];
    for case in cases() {
        let sizes = *case.step::<Subject>(&case.inputs(7)).sizes();
        let is_plain = sizes.x_repeats() * sizes.b_repeats() == 1 && !sizes.has_dt_weight;
        check::<Subject>(&case, is_plain);
        mixers[usize::from(sizes.a_is_per_state)] |= is_plain;
    }
    assert_eq!(mixers, [true; 2], "both mixers have a case to compare");
}
