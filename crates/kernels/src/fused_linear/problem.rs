use super::{FusedLinearInputs, FusedOutput, WEIGHTS};
use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

/// What becomes of the products, as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FusedOutputKind {
    /// They stand side by side.
    SideBySide,
    /// The one there is comes on top of a residual.
    Added,
    /// The second is gated by the first.
    Gated,
}

/// Sizes of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedLinearProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Columns of `x`.
    pub d_input: usize,
    /// Columns of each weight, 0 where there is none.
    pub widths: [usize; WEIGHTS],
    /// Added to the mean square, if there is a norm.
    pub eps: Option<f64>,
    /// What becomes of the products.
    pub output: FusedOutputKind,
}

impl FusedLinearProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(inputs: &FusedLinearInputs<B>) -> Result<Self, KernelError> {
        const OP: &str = "fused_linear";
        let check = Check::new(OP);
        let [batch, seq, d_input] = inputs.x.dims();
        check.not_empty(&[("batch", batch), ("seq", seq), ("d_input", d_input)])?;
        let found = inputs.weights.len();
        let (output, weights) = match inputs.output {
            FusedOutput::SideBySide => (FusedOutputKind::SideBySide, 1..=WEIGHTS),
            FusedOutput::Added(_) => (FusedOutputKind::Added, 1..=1),
            FusedOutput::Gated => (FusedOutputKind::Gated, 2..=2),
        };
        if !weights.contains(&found) {
            let (least, most) = weights.into_inner();
            return Err(KernelError::Weights {
                op: OP,
                found,
                least,
                most,
            });
        }
        let mut widths = [0; WEIGHTS];
        for (width, weight) in widths.iter_mut().zip(&inputs.weights) {
            let [_, d_output] = weight.dims();
            check.not_empty(&[("d_output", d_output)])?;
            let shape = [d_input, d_output];
            check.shape("weight", "[d_input, d_output]", &weight.dims(), &shape)?;
            *width = d_output;
        }
        let problem = Self {
            batch,
            seq,
            d_input,
            widths,
            eps: inputs.norm.as_ref().map(|(_, eps)| *eps),
            output,
        };
        if let Some((weight, eps)) = &inputs.norm {
            check.shape("norm", "[d_input]", &weight.dims(), &[d_input])?;
            if !eps.is_finite() || *eps < 0.0 {
                let (op, found) = (OP, *eps);
                return Err(KernelError::Epsilon { op, found });
            }
        }
        let rows = "[batch, seq, d_output]";
        match &inputs.output {
            FusedOutput::SideBySide => {}
            FusedOutput::Added(residual) => {
                let expected = [batch, seq, problem.d_output()];
                check.shape("residual", rows, &residual.dims(), &expected)?;
            }
            FusedOutput::Gated => {
                let second: &Tensor<B, 2> = &inputs.weights[1];
                let expected = [d_input, widths[0]];
                check.shape("weight", "[d_input, d_output]", &second.dims(), &expected)?;
            }
        }
        Ok(problem)
    }

    /// Rows of `x`.
    pub fn rows(&self) -> usize {
        self.batch * self.seq
    }

    /// Columns of the result.
    pub fn d_output(&self) -> usize {
        match self.output {
            FusedOutputKind::SideBySide => self.widths.iter().sum(),
            FusedOutputKind::Added | FusedOutputKind::Gated => self.widths[0],
        }
    }

    /// Number of weights.
    #[cfg(feature = "cube")]
    pub(crate) fn weights(&self) -> usize {
        self.widths.iter().filter(|width| **width > 0).count()
    }

    /// Shape of the result.
    #[cfg(feature = "cube")]
    pub(crate) fn result(&self) -> burn::tensor::Shape {
        burn::tensor::Shape::new([self.batch, self.seq, self.d_output()])
    }
}
