use super::{DecodeState, DecodeStepProblem, DecodeStepShape};
use crate::error::KernelError;
use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

/// Weights of a mixer between its projections, as the mixer holds them.
#[derive(Clone, Debug)]
pub struct DecodeStepWeights<B: Backend> {
    /// One filter a channel, the last tap is the current token, `[conv_channels, d_conv]`.
    pub conv_weight: Tensor<B, 2>,
    /// `[conv_channels]`; zero when absent.
    pub conv_bias: Option<Tensor<B, 1>>,
    /// Projection of a low-rank dt to the heads, `[dt_rank, nheads]`.
    pub dt_weight: Option<Tensor<B, 2>>,
    /// Bias of the step size, `[nheads]`; zero when absent.
    pub dt_bias: Option<Tensor<B, 1>>,
    /// Decay rates, negative, one a head or one a state: `[nheads, 1]` or `[nheads, d_state]`.
    pub a: Tensor<B, 2>,
    /// Skip weight, `[nheads]`; zero when absent.
    pub d: Option<Tensor<B, 1>>,
    /// Weight of the norm over each head that follows the gate, `[d_inner]`.
    pub norm_weight: Option<Tensor<B, 1>>,
}

/// The step of one mixer: its sizes, and its weights in the one tensor that a kernel reads.
///
/// It is made once and serves every token; later changes of the mixer's weights do not reach it.
#[derive(Clone, Debug)]
pub struct DecodeStep<B: Backend> {
    problem: DecodeStepProblem,
    packed: Tensor<B, 1>,
}

impl<B: Backend> DecodeStep<B> {
    /// Packs the weights, in f32.
    ///
    /// # Errors
    /// [`KernelError`] if a size is zero, a shape disagrees, a width does not divide another, or
    /// `eps` is negative or not finite.
    pub fn new(shape: DecodeStepShape, weights: DecodeStepWeights<B>) -> Result<Self, KernelError> {
        let problem = DecodeStepProblem::validate_weights(shape, &weights)?;
        let device = weights.a.device();
        let zeros = |length: usize| Tensor::<B, 1>::zeros([length], &device);
        let flat = |x: Tensor<B, 2>| -> Tensor<B, 1> {
            let length = x.dims().iter().product::<usize>();
            float(x.reshape([length]))
        };
        let nheads = problem.nheads;
        let or_zeros = |x: Option<Tensor<B, 1>>, length| x.map_or_else(|| zeros(length), float);
        let mut parts = vec![
            flat(weights.conv_weight.transpose()),
            or_zeros(weights.conv_bias, problem.conv_channels()),
        ];
        parts.extend(weights.dt_weight.map(flat));
        parts.push(or_zeros(weights.dt_bias, nheads));
        parts.push(flat(weights.a));
        parts.push(or_zeros(weights.d, nheads));
        parts.extend(weights.norm_weight.map(float));
        let packed = Tensor::cat(parts, 0);
        debug_assert_eq!(
            packed.dims()[0],
            problem.packed_lengths().iter().sum::<usize>()
        );
        Ok(Self { problem, packed })
    }

    /// Sizes and flags of the step, for one sequence.
    pub fn sizes(&self) -> &DecodeStepProblem {
        &self.problem
    }

    /// Sizes and flags of the step of a batch, after checking its shapes.
    pub(super) fn problem(
        &self,
        rows: &Tensor<B, 2>,
        state: &DecodeState<B>,
    ) -> Result<DecodeStepProblem, KernelError> {
        self.problem.validate(rows, state)
    }

    pub(crate) fn packed(&self) -> Tensor<B, 1> {
        self.packed.clone()
    }
}

/// As f32, whatever the default float of the backend.
fn float<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match x.dtype() {
        DType::F32 => x,
        _ => x.cast(FloatDType::F32),
    }
}
