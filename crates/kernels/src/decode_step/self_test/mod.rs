//! The decode step's cases.

mod definition;

pub(crate) use definition::{Definition, Memory};

use crate::backend::SsmBackend;
use crate::decode_step::{
    DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, decode_step, reference,
};
use crate::primitive::{unwrap, wrap};
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::host::{free_nan, upload};
use burn::tensor::{Tensor, backend::Backend};

/// Tokens of each case.
const TOKENS: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) nheads: usize,
    d_conv: usize,
    /// 0 for a dt that is given by head.
    pub(crate) dt_rank: usize,
    a_is_per_state: bool,
    /// Convolution bias, bias of dt, and d.
    has_optional: bool,
    pub(crate) has_norm: bool,
    pub(crate) shape: DecodeStepShape,
}

/// As the hybrids' Mamba1: 3 query heads of 32 a key/value head, chunks of 16.
pub(crate) const MAMBA1: Case = Case {
    batch: 2,
    nheads: 96,
    d_conv: 4,
    dt_rank: 6,
    a_is_per_state: true,
    has_optional: true,
    has_norm: false,
    shape: DecodeStepShape {
        headdim: 1,
        d_state: 16,
        x_width: 32,
        b_width: 32,
        c_width: 96,
        repeat_width: 16,
        repeat_before_conv: true,
        conv_covers_bc: false,
        has_z: true,
        eps: 1e-5,
    },
};

/// As the hybrids' Mamba2: 4 heads of 32, 2 key/value heads.
pub(crate) const MAMBA2: Case = Case {
    batch: 2,
    nheads: 4,
    d_conv: 4,
    dt_rank: 0,
    a_is_per_state: false,
    has_optional: true,
    has_norm: true,
    shape: DecodeStepShape {
        headdim: 32,
        d_state: 32,
        x_width: 64,
        b_width: 64,
        c_width: 128,
        repeat_width: 32,
        repeat_before_conv: false,
        conv_covers_bc: true,
        has_z: true,
        eps: 1e-5,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    let change = |case: &Case, change: &dyn Fn(&mut Case)| {
        let mut case = *case;
        change(&mut case);
        case
    };
    vec![
        MAMBA1,
        MAMBA2,
        change(&MAMBA1, &|case| case.shape.repeat_before_conv = false),
        // Whole heads are repeated, so that a group's b is cut from the middle of a piece.
        change(&MAMBA1, &|case| {
            case.shape.repeat_width = 32;
            case.d_conv = 2;
            case.batch = 1;
        }),
        // As the first Mamba: one group, nothing repeated, no gate, few states.
        change(&MAMBA1, &|case| {
            case.nheads = 21;
            case.dt_rank = 0;
            case.has_optional = false;
            case.shape.d_state = 5;
            case.shape.x_width = 21;
            case.shape.b_width = 5;
            case.shape.c_width = 5;
            case.shape.has_z = false;
        }),
        // Enough work for several threads.
        change(&MAMBA1, &|case| {
            case.batch = 5;
            case.nheads = 1024;
            case.shape.x_width = 256;
            case.shape.b_width = 256;
            case.shape.c_width = 1024;
        }),
        change(&MAMBA2, &|case| case.shape.repeat_before_conv = true),
        // One group for all heads, nothing a multiple of sixteen.
        change(&MAMBA2, &|case| {
            case.batch = 3;
            case.nheads = 3;
            case.d_conv = 3;
            case.has_optional = false;
            case.shape.headdim = 20;
            case.shape.d_state = 24;
            case.shape.x_width = 60;
            case.shape.b_width = 24;
            case.shape.c_width = 24;
        }),
        change(&MAMBA2, &|case| {
            case.has_norm = false;
            case.dt_rank = 3;
        }),
        change(&MAMBA2, &|case| {
            case.batch = 3;
            case.nheads = 8;
            case.shape.headdim = 64;
            case.shape.d_state = 128;
            case.shape.x_width = 512;
            case.shape.b_width = 256;
            case.shape.c_width = 512;
            case.shape.repeat_width = 128;
        }),
        change(&MAMBA2, &|case| {
            case.nheads = 2;
            case.shape.headdim = 1;
            case.shape.d_state = 1;
            case.shape.x_width = 2;
            case.shape.b_width = 2;
            case.shape.c_width = 2;
            // With one state a head either reading of `a` is the same.
            case.a_is_per_state = true;
            case.has_norm = false;
        }),
    ]
}

/// Inputs on the host, in the order of the packed weights.
pub(crate) struct Inputs {
    pub(crate) weights: [Vec<f32>; 7],
    pub(crate) rows: Vec<Vec<f32>>,
    pub(crate) window: Vec<f32>,
    pub(crate) state: Vec<f32>,
}

/// Output of each token, and the memory after the last.
pub(crate) struct Outcome {
    pub(crate) y: Vec<Vec<f32>>,
    pub(crate) window: Vec<f32>,
    pub(crate) state: Vec<f32>,
}

impl Case {
    pub(crate) fn d_inner(&self) -> usize {
        self.nheads * self.shape.headdim
    }

    pub(crate) fn conv_channels(&self) -> usize {
        let s = &self.shape;
        let (x, b) = match s.repeat_before_conv {
            true => (self.d_inner(), s.c_width),
            false => (s.x_width, s.b_width),
        };
        if s.conv_covers_bc {
            x + b + s.c_width
        } else {
            x
        }
    }

    fn dt_width(&self) -> usize {
        if self.dt_rank > 0 {
            self.dt_rank
        } else {
            self.nheads
        }
    }

    pub(crate) fn row_width(&self) -> usize {
        let s = &self.shape;
        let z = if s.has_z { self.d_inner() } else { 0 };
        z + s.x_width + s.b_width + s.c_width + self.dt_width()
    }

    pub(crate) fn inputs(&self, seed: u64) -> Inputs {
        let mut seeded = Seeded::new(seed);
        let channels = self.conv_channels();
        let rates = if self.a_is_per_state {
            self.shape.d_state
        } else {
            1
        };
        let norm = if self.has_norm { self.d_inner() } else { 0 };
        let optional = |length| if self.has_optional { length } else { 0 };
        Inputs {
            weights: [
                seeded.uniforms(channels * self.d_conv, -1.0, 1.0),
                seeded.uniforms(optional(channels), -0.5, 0.5),
                seeded.uniforms(self.dt_rank * self.nheads, -0.5, 0.5),
                seeded.uniforms(optional(self.nheads), -2.0, 0.5),
                seeded.uniforms(self.nheads * rates, -3.0, -0.1),
                seeded.uniforms(optional(self.nheads), -1.0, 1.0),
                seeded.uniforms(norm, 0.5, 1.5),
            ],
            rows: (0..TOKENS)
                .map(|_| seeded.uniforms(self.batch * self.row_width(), -1.5, 1.5))
                .collect(),
            window: seeded.uniforms(self.batch * (self.d_conv - 1) * channels, -1.5, 1.5),
            state: seeded.uniforms(self.batch * self.d_inner() * self.shape.d_state, -1.0, 1.0),
        }
    }

    pub(crate) fn step<B: Backend>(&self, inputs: &Inputs) -> DecodeStep<B> {
        let vector = |index: usize| {
            let values = &inputs.weights[index];
            (!values.is_empty()).then(|| tensor::<B, 1>(values, [values.len()]))
        };
        let matrix = |index: usize, dims: [usize; 2]| tensor::<B, 2>(&inputs.weights[index], dims);
        let rates = inputs.weights[4].len() / self.nheads;
        let weights = DecodeStepWeights {
            conv_weight: matrix(0, [self.conv_channels(), self.d_conv]),
            conv_bias: vector(1),
            dt_weight: (self.dt_rank > 0).then(|| matrix(2, [self.dt_rank, self.nheads])),
            dt_bias: vector(3),
            a: matrix(4, [self.nheads, rates]),
            d: vector(5),
            norm_weight: vector(6),
        };
        DecodeStep::new(self.shape, weights).unwrap()
    }

    pub(crate) fn state<B: Backend>(&self, inputs: &Inputs) -> DecodeState<B> {
        let window = [self.batch, self.d_conv - 1, self.conv_channels()];
        let state = [self.batch, self.d_inner(), self.shape.d_state];
        DecodeState {
            conv_window: tensor(&inputs.window, window),
            ssm_state: tensor(&inputs.state, state),
        }
    }

    pub(crate) fn run<B: SsmBackend>(&self, inputs: &Inputs, by_reference: bool) -> Outcome {
        let step = self.step::<B>(inputs);
        let mut state = self.state::<B>(inputs);
        let lengths = [
            self.batch * self.d_inner(),
            inputs.window.len(),
            inputs.state.len(),
        ];
        free_nan::<B>(lengths.into_iter());
        let mut outputs = Vec::new();
        for row in &inputs.rows {
            let rows = tensor::<B, 2>(row, [self.batch, self.row_width()]);
            let y;
            (y, state) = if by_reference {
                let problem = step.problem(&rows, &state).unwrap();
                let operands = [
                    unwrap(rows),
                    unwrap(state.conv_window),
                    unwrap(state.ssm_state),
                    unwrap(step.packed()),
                ];
                let [y, conv_window, ssm_state] = reference::forward::<B>(operands, &problem);
                let state = DecodeState {
                    conv_window: wrap(conv_window),
                    ssm_state: wrap(ssm_state),
                };
                (wrap::<B, 2>(y), state)
            } else {
                decode_step(&step, rows, state).unwrap()
            };
            outputs.push(host(y));
        }
        Outcome {
            y: outputs,
            window: host(state.conv_window),
            state: host(state.ssm_state),
        }
    }

    /// Outputs of all tokens, and windows and states after the last, by the definition.
    pub(crate) fn naive(&self, inputs: &Inputs) -> [Vec<f64>; 3] {
        let definition = Definition::new(self, inputs);
        let mut memories = definition.memories(inputs);
        let mut outputs = Vec::new();
        for rows in &inputs.rows {
            let rows = rows.chunks_exact(self.row_width());
            for (memory, row) in memories.iter_mut().zip(rows) {
                outputs.extend(definition.step(memory, row));
            }
        }
        let windows = memories.iter().flat_map(|memory| memory.window.clone());
        let states = memories.iter().flat_map(|memory| memory.state.clone());
        [outputs, windows.collect(), states.collect()]
    }

    /// Outputs of all tokens and the memory after the last, by the operation or by its reference.
    pub(crate) fn check<B: SsmBackend>(&self, by_reference: bool) -> Vec<TensorCheck> {
        let inputs = self.inputs(7);
        let outcome = self.run::<B>(&inputs, by_reference);
        let [y, window, state] = self.naive(&inputs);
        let mut window = TensorCheck::new("window", &outcome.window, &window);
        // Only moved.
        window.tolerance = 0.0;
        vec![
            TensorCheck::new("y", &outcome.y.concat(), &y),
            window,
            TensorCheck::new("state", &outcome.state, &state),
        ]
    }

    /// Sizes and options, short.
    pub(crate) fn label(&self) -> String {
        let s = &self.shape;
        let flags = [
            (s.repeat_before_conv, "repeat first"),
            (s.conv_covers_bc, "conv of bc"),
            (s.has_z, "z"),
            (self.has_optional, "bias d"),
            (self.has_norm, "norm"),
        ];
        let on: String = (flags.iter().filter(|(on, _)| *on))
            .map(|(_, flag)| format!(" {flag}"))
            .collect();
        let (x, b, c) = (s.x_width, s.b_width, s.c_width);
        format!(
            "b{} h{} p{} n{} x{x} b{b} c{c} w{} dt rank {}{on}",
            self.batch, self.nheads, s.headdim, s.d_state, self.d_conv, self.dt_rank
        )
    }
}

pub(crate) fn tensor<B: Backend, const D: usize>(values: &[f32], dims: [usize; D]) -> Tensor<B, D> {
    wrap(upload::<B>(values, &dims))
}

pub(crate) fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
