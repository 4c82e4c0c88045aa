//! Calls that keep every number of the tokens before, against the definition of a decode step in f64.

use super::{Kept, VerifyState, verify};
use crate::backend::SsmBackend;
use crate::decode_step::self_test::{self as single, Definition, Memory, host, tensor};
use crate::decode_step::{DecodeState, DecodeStep};
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::compare::BF16_TOLERANCE;
use crate::self_test::host::{device, free_nan};
use burn::tensor::{DType, Tensor, backend::Backend, bf16};

/// Tokens of each call: as many as before, fewer, more.
pub(crate) const ROUNDS: [usize; 5] = [6, 6, 3, 6, 1];
/// Sequences, so that one call keeps none, some and all of six tokens.
const BATCH: usize = 7;

/// A mixer and the type of its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) mixer: single::Case,
    pub(crate) dtype: DType,
}

/// Every mixer of the decode step in f32, one of each kind in bf16.
pub(crate) fn cases() -> Vec<Case> {
    let wide = (single::cases().into_iter()).map(|mixer| Case::new(mixer, DType::F32));
    let short = [single::MAMBA1, single::MAMBA2].map(|mixer| Case::new(mixer, DType::BF16));
    wide.chain(short).collect()
}

/// What all calls gave, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results<T> {
    pub(crate) y: Vec<T>,
    /// States before and after the tokens of each call.
    pub(crate) states: Vec<T>,
    /// Windows after all tokens of each call.
    pub(crate) windows: Vec<T>,
}

impl Case {
    pub(crate) fn new(mut mixer: single::Case, dtype: DType) -> Self {
        mixer.batch = BATCH;
        Self { mixer, dtype }
    }

    /// As `dtype` holds it.
    fn rounded(&self, values: Vec<f32>) -> Vec<f32> {
        match self.dtype {
            DType::BF16 => (values.into_iter())
                .map(|value| bf16::from_f32(value).to_f32())
                .collect(),
            _ => values,
        }
    }

    /// Weights and the memory to start from.
    pub(crate) fn inputs(&self) -> single::Inputs {
        let mut inputs = self.mixer.inputs(7);
        inputs.window = self.rounded(inputs.window);
        inputs
    }

    /// Rows of each call, and how many tokens of the one before each sequence keeps in it.
    pub(crate) fn calls(&self, rounds: &[usize]) -> Vec<(Vec<f32>, Vec<usize>)> {
        let mut seeded = Seeded::new(rounds.len() as u64);
        let mut cached = 0;
        let call = |(round, &tokens): (usize, &usize)| {
            let length = self.mixer.batch * tokens * self.mixer.row_width();
            let rows = self.rounded(seeded.uniforms(length, -1.5, 1.5));
            let keep = |sequence: usize| (sequence + round) % (cached + 1);
            let kept = (0..self.mixer.batch).map(keep).collect();
            cached = tokens;
            (rows, kept)
        };
        rounds.iter().enumerate().map(call).collect()
    }

    /// The calls by the operation.
    pub(crate) fn run<B: SsmBackend>(
        &self,
        rounds: &[usize],
        operation: impl Fn(
            &DecodeStep<B>,
            Tensor<B, 3>,
            VerifyState<B>,
            &Kept<B>,
        ) -> (Tensor<B, 3>, VerifyState<B>),
    ) -> Results<f32> {
        let mixer = &self.mixer;
        let inputs = self.inputs();
        let step = mixer.step::<B>(&inputs);
        let start = mixer.state::<B>(&inputs);
        let start = DecodeState {
            conv_window: start.conv_window.cast(self.dtype),
            ..start
        };
        let mut state = VerifyState::new(&step, start);
        let mut results = Results::default();
        for (rows, kept) in self.calls(rounds) {
            let tokens = rows.len() / mixer.batch / mixer.row_width();
            let dims = [mixer.batch, tokens, mixer.row_width()];
            let rows = tensor::<B, 3>(&rows, dims).cast(self.dtype);
            let lengths = [rows.dims()[1] * mixer.batch * mixer.d_inner()];
            free_nan::<B>(lengths.into_iter().chain([2 * inputs.state.len()]));
            let kept = Kept::new(kept, &device::<B>());
            let y;
            (y, state) = operation(&step, rows, state, &kept);
            results.y.extend(host(y));
            results.states.extend(host(state.states.clone()));
            let window = state.clone().into_decode_state(&step).conv_window;
            results.windows.extend(host(window));
        }
        results
    }

    /// The calls by the definition: each sequence remembers its memory after every number of tokens.
    pub(crate) fn naive(&self, rounds: &[usize]) -> Results<f64> {
        let mixer = &self.mixer;
        let inputs = self.inputs();
        let definition = Definition::new(mixer, &inputs);
        let mut memories: Vec<Vec<Memory>> = (definition.memories(&inputs).into_iter())
            .map(|memory| vec![memory])
            .collect();
        let mut results = Results::default();
        for (rows, kept) in self.calls(rounds) {
            let rows = rows.chunks_exact(rows.len() / mixer.batch);
            for ((memories, rows), kept) in memories.iter_mut().zip(rows).zip(kept) {
                let mut memory = memories.swap_remove(kept);
                *memories = vec![memory.clone()];
                for row in rows.chunks_exact(mixer.row_width()) {
                    results.y.extend(definition.step(&mut memory, row));
                    memories.push(memory.clone());
                }
            }
            let first = memories.iter().map(|memories| &memories[0]);
            let last = memories
                .iter()
                .map(|memories| &memories[memories.len() - 1]);
            let states = first.chain(last.clone()).flat_map(|memory| &memory.state);
            results.states.extend(states);
            results
                .windows
                .extend(last.flat_map(|memory| &memory.window));
        }
        results
    }

    /// The operation against the definition.
    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let got = self.run::<B>(&ROUNDS, |step, rows, state, kept| {
            verify(step, rows, state, kept).expect("the shapes agree")
        });
        self.compared(got, self.naive(&ROUNDS))
    }

    /// Results against expectations.
    pub(crate) fn compared(&self, got: Results<f32>, expected: Results<f64>) -> Vec<TensorCheck> {
        let mut y = TensorCheck::new("y", &got.y, &expected.y);
        if self.dtype == DType::BF16 {
            y.tolerance = BF16_TOLERANCE;
        }
        let mut windows = TensorCheck::new("window", &got.windows, &expected.windows);
        // Only moved.
        windows.tolerance = 0.0;
        let states = TensorCheck::new("state", &got.states, &expected.states);
        vec![y, windows, states]
    }

    /// Sizes and options, short.
    pub(crate) fn label(&self) -> String {
        let dtype = format!("{:?}", self.dtype).to_lowercase();
        format!("{} {dtype}", self.mixer.label())
    }
}

/// The types that a device has.
pub(crate) fn is_supported<B: Backend>(case: &Case) -> bool {
    B::supports_dtype(&device::<B>(), case.dtype)
}
