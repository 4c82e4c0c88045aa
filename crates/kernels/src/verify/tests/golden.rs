//! The fixture `kernel_verify`: two rounds of four tokens, with every number of them kept in between.
//!
//! The fixture gives x behind the convolution, which here ends in a SiLU that cannot give every x. Outputs and states are linear in x and the
//! first state, so each run is the difference of two whose x are positive.

use crate::decode_step::self_test::{host, tensor};
use crate::decode_step::{DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights};
use crate::self_test::Tensors;
use crate::testing::subject::Subject;
use crate::testing::{F32_TOLERANCE, assert_close, golden};
use crate::verify::{Kept, VerifyState, verify};

const BATCH: usize = 2;
const TOKENS: usize = 4;
/// Differences of two runs, each with larger inputs than the fixture's.
const TOLERANCE: f64 = 4.0 * F32_TOLERANCE;

/// Sizes of a part of the fixture.
struct Part {
    name: &'static str,
    nheads: usize,
    headdim: usize,
    d_state: usize,
    b_groups: usize,
    c_groups: usize,
}

const PARTS: [Part; 2] = [
    Part {
        name: "m1",
        nheads: 8,
        headdim: 1,
        d_state: 4,
        b_groups: 1,
        c_groups: 1,
    },
    Part {
        name: "mh",
        nheads: 4,
        headdim: 8,
        d_state: 8,
        b_groups: 2,
        c_groups: 4,
    },
];

/// What SiLU takes to `value`, which is positive.
fn inverse_silu(value: f64) -> f64 {
    let mut x = value + 0.3;
    for _ in 0..60 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        x -= (x * sigmoid - value) / (sigmoid * (1.0 + x * (1.0 - sigmoid)));
    }
    x
}

impl Part {
    fn d_inner(&self) -> usize {
        self.nheads * self.headdim
    }

    fn values(&self, file: &Tensors, key: &str) -> Vec<f32> {
        let key = format!("{}.{key}", self.name);
        file.get(&key).expect("the fixture").floats()
    }

    fn step(&self, file: &Tensors) -> DecodeStep<Subject> {
        let d_inner = self.d_inner();
        let shape = DecodeStepShape {
            headdim: self.headdim,
            d_state: self.d_state,
            x_width: d_inner,
            b_width: self.b_groups * self.d_state,
            c_width: self.c_groups * self.d_state,
            repeat_width: self.d_state,
            repeat_before_conv: false,
            conv_covers_bc: false,
            has_z: true,
            eps: 0.0,
        };
        // Two taps, of which the one of the current token is 1.
        let conv_weight: Vec<f32> = (0..2 * d_inner).map(|at| (at % 2) as f32).collect();
        let a = self.values(file, "in.A");
        let vector = |key| Some(tensor(&self.values(file, key), [self.nheads]));
        let weights = DecodeStepWeights {
            conv_weight: tensor(&conv_weight, [d_inner, 2]),
            conv_bias: None,
            dt_weight: None,
            dt_bias: vector("in.dt_bias"),
            a: tensor(&a, [self.nheads, a.len() / self.nheads]),
            d: vector("in.D"),
            norm_weight: None,
        };
        DecodeStep::new(shape, weights).unwrap()
    }

    /// Rows of a round with x, or -x, where that is positive, and a half everywhere.
    fn rows(&self, file: &Tensors, round: usize, sign: f32) -> Vec<f32> {
        let [z, x, b, c, dt] = ["z", "x", "B", "C", "dt"]
            .map(|key| self.values(file, &format!("in.round{round}.{key}")));
        let x: Vec<f32> = x
            .iter()
            .map(|x| inverse_silu(f64::from((sign * x).max(0.0)) + 0.5) as f32)
            .collect();
        let token = |at: usize| {
            [&z, &x, &b, &c, &dt].into_iter().flat_map(move |part| {
                part.chunks_exact(part.len() / (BATCH * TOKENS))
                    .nth(at)
                    .unwrap()
            })
        };
        (0..BATCH * TOKENS).flat_map(token).copied().collect()
    }

    /// Outputs of both rounds, and the states before and after the second, with `kept` tokens of the first.
    fn run(&self, file: &Tensors, kept: usize, sign: f32) -> [Vec<f32>; 5] {
        let step = self.step(file);
        let d_inner = self.d_inner();
        let mut ssm_state = self.values(file, "in.state0");
        if sign < 0.0 {
            ssm_state.fill(0.0);
        }
        let state = DecodeState {
            conv_window: tensor(&vec![0.0; BATCH * d_inner], [BATCH, 1, d_inner]),
            ssm_state: tensor(&ssm_state, [BATCH, d_inner, self.d_state]),
        };
        let rows = |round| {
            let width = step.sizes().row_width();
            tensor(&self.rows(file, round, sign), [BATCH, TOKENS, width])
        };
        let count = |count| Kept::new(vec![count; BATCH], &Default::default());
        let state = VerifyState::new(&step, state);
        let (first, state) = verify(&step, rows(1), state, &count(0)).unwrap();
        let after_first = host(state.states.clone()).split_off(ssm_state.len());
        let (second, state) = verify(&step, rows(2), state, &count(kept)).unwrap();
        let mut before = host(state.states);
        let after = before.split_off(ssm_state.len());
        [host(first), after_first, host(second), before, after]
    }
}

#[test]
fn golden_rounds_replay_what_was_kept() {
    let file = golden::load("kernel_verify");
    for part in &PARTS {
        for accepted in 0..TOKENS {
            let runs = [1.0, -1.0].map(|sign| part.run(&file, accepted + 1, sign));
            let names = [
                "round1.y".to_owned(),
                "round1.state_all".to_owned(),
                format!("accept{accepted}.round2.y"),
                format!("accept{accepted}.state"),
                format!("accept{accepted}.round2.state_all"),
            ];
            let [positive, negative] = runs;
            let pairs = positive.iter().zip(&negative).zip(names);
            for ((positive, negative), name) in pairs {
                let found: Vec<f32> = positive.iter().zip(negative).map(|(p, n)| p - n).collect();
                let key = format!("{}.{name}", part.name);
                let expected = &file.get(&key).expect("the fixture").values;
                assert_close(&key, &found, expected, TOLERANCE);
            }
        }
    }
}
