//! The fixed-size memory of an SSM layer.

use burn::nn::RmsNorm;
use burn::tensor::{Int, Tensor, backend::Backend};
use kernels::{
    DecodeState, DecodeStep, FusedOutput, Kept, SsmBackend, VerifyState, decode_step, verify,
};

use crate::params::{add_bias, fused};

/// Memory of a Mamba1 or Mamba2 layer.
#[derive(Clone, Debug)]
pub struct SsmState<B: Backend> {
    /// Always there between calls
    memory: Option<Memory<B>>,
    /// Made at the first single or drafted token
    step: Option<SsmStep<B>>,
}

#[derive(Clone, Debug)]
enum Memory<B: Backend> {
    /// After tokens that stay
    Settled(DecodeState<B>),
    /// After tokens of which the last may still be dropped: the state before them, and what each brought to it
    Open(VerifyState<B>),
}

/// What an SSM layer keeps between calls beside its memory.
#[derive(Clone, Debug)]
pub(crate) struct SsmStep<B: Backend> {
    /// All projections of the layer's input side by side, `[d_model, row_width]`
    pub(crate) in_proj: Tensor<B, 2>,
    /// Their biases, `[row_width]`, if they have any
    pub(crate) in_proj_bias: Option<Tensor<B, 1>>,
    pub(crate) step: DecodeStep<B>,
}

impl<B: Backend> SsmState<B> {
    pub(super) fn new(conv_window: Tensor<B, 3>, ssm_state: Tensor<B, 3>) -> Self {
        Self {
            memory: Some(Memory::Settled(DecodeState {
                conv_window,
                ssm_state,
            })),
            step: None,
        }
    }

    /// Window `[batch, d_conv - 1, channels]` and state `[batch, d_inner, d_state]` after the last token; none while
    /// tokens may still be dropped.
    pub fn settled(&self) -> Option<&DecodeState<B>> {
        match &self.memory {
            Some(Memory::Settled(state)) => Some(state),
            _ => None,
        }
    }

    /// Moves the memory out, so that a pass may write over it, until [`settle`](Self::settle).
    ///
    /// # Panics
    /// If a token of the last call was dropped: its state can only be replayed by [`run`](Self::run) with counts.
    pub(crate) fn take(&mut self) -> DecodeState<B> {
        match self.memory.take().expect(BETWEEN_CALLS) {
            Memory::Settled(state) => state,
            Memory::Open(state) => {
                let step = self.step.as_ref().expect("made before tokens are drafted");
                state.into_decode_state(&step.step)
            }
        }
    }

    /// Puts a memory in whose tokens stay.
    pub(crate) fn settle(&mut self, state: DecodeState<B>) {
        self.memory = Some(Memory::Settled(state));
    }

    /// Appends the sequences of `others`.
    ///
    /// # Panics
    /// As [`take`](Self::take).
    pub(super) fn append(&mut self, others: Vec<Self>) {
        let others = others.into_iter().map(|mut other| other.take());
        let all: Vec<DecodeState<B>> = std::iter::once(self.take()).chain(others).collect();
        let (windows, states) = all
            .into_iter()
            .map(|state| (state.conv_window, state.ssm_state))
            .unzip();
        self.settle(DecodeState {
            conv_window: Tensor::cat(windows, 0),
            ssm_state: Tensor::cat(states, 0),
        });
    }

    /// Keeps the sequences at `indices`.
    ///
    /// # Panics
    /// As [`take`](Self::take).
    pub(super) fn select(&mut self, indices: &Tensor<B, 1, Int>) {
        let state = self.take();
        self.settle(DecodeState {
            conv_window: state.conv_window.select(0, indices.clone()),
            ssm_state: state.ssm_state.select(0, indices.clone()),
        });
    }

    pub(super) fn bytes(&self) -> usize {
        use super::bytes;
        match self.memory.as_ref().expect(BETWEEN_CALLS) {
            Memory::Settled(state) => bytes(&state.conv_window) + bytes(&state.ssm_state),
            Memory::Open(state) => {
                bytes(&state.states) + bytes(&state.conv_inputs) + bytes(&state.cache)
            }
        }
    }

    /// The memory alone, by reference to the same buffers.
    pub(super) fn memory(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            step: None,
        }
    }

    /// Goes back to what [`memory`](Self::memory) gave.
    pub(super) fn restore(&mut self, earlier: Self) {
        self.memory = earlier.memory;
    }
}

const BETWEEN_CALLS: &str = "put back at the end of every call";

impl<B: SsmBackend> SsmState<B> {
    /// From the residual stream before the layer's `norm`, `[batch, seq, d_model]`, to the input of its last projection, `[batch, seq, d_inner]`.
    ///
    /// With `kept` the tokens may be dropped later, and `kept` says which of the last ones were not; without it they
    /// stay, as the last ones do, and `seq` is 1.
    pub(crate) fn run(
        &mut self,
        norm: &RmsNorm<B>,
        x: Tensor<B, 3>,
        kept: Option<&Kept<B>>,
        step: impl FnOnce() -> SsmStep<B>,
    ) -> Tensor<B, 3> {
        let SsmStep {
            in_proj,
            in_proj_bias,
            step,
        } = self.step.get_or_insert_with(step);
        let step = step.clone();
        let rows = fused(Some(norm), x, [in_proj.clone()], FusedOutput::SideBySide);
        let rows = add_bias(rows, in_proj_bias.clone());
        let Some(kept) = kept else {
            let (y, state) = decode_step(&step, rows.squeeze_dim(1), self.take()).expect(CHECKED);
            self.settle(state);
            return y.unsqueeze_dim(1);
        };
        let state = match self.memory.take().expect(BETWEEN_CALLS) {
            Memory::Settled(state) => VerifyState::new(&step, state),
            Memory::Open(state) => state,
        };
        let (y, state) = verify(&step, rows, state, kept).expect(CHECKED);
        self.memory = Some(Memory::Open(state));
        y
    }
}

const CHECKED: &str = "shapes follow from the checked configuration, counts from the cache";
