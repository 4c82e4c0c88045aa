//! The fused products' cases.

use super::{
    FEW_ROWS, FEW_ROWS_OF_HEAD, FusedLinearInputs, FusedOutput, FusedOutputKind, fused_linear,
};
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::host::{device, free_nan, upload};
use crate::self_test::products::with_products;
use burn::tensor::{DType, Tensor, backend::Backend};

const EPS: f64 = 1e-5;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) seq: usize,
    d_input: usize,
    widths: Vec<usize>,
    has_norm: bool,
    output: FusedOutputKind,
    /// Whether the weight is the transpose of one that lies `[d_output, d_input]`
    is_transposed: bool,
    weights: DType,
}

/// One token and more, widths off every grid, every output; the shapes of a small model's blocks.
pub(crate) fn cases() -> Vec<Case> {
    use FusedOutputKind::{Added, Gated, SideBySide};
    let mut cases = Vec::new();
    let mut add = |batch, seq, d_input, widths: &[usize], has_norm, output| {
        cases.push(Case {
            batch,
            seq,
            d_input,
            widths: widths.to_vec(),
            has_norm,
            output,
            is_transposed: false,
            weights: DType::F32,
        });
    };
    add(1, 1, 576, &[576, 192, 192], true, SideBySide);
    add(1, 1, 576, &[576], false, Added);
    add(1, 1, 576, &[1536, 1536], true, Gated);
    add(1, 1, 1536, &[576], false, Added);
    add(1, 1, 576, &[1545], true, SideBySide);
    add(2, 1, 64, &[70], true, SideBySide);
    add(1, 3, 48, &[24, 8, 16], true, SideBySide);
    add(3, 1, 33, &[5, 7, 3], false, SideBySide);
    add(1, 4, 36, &[30], true, Added);
    add(4, 2, 64, &[52, 52], true, Gated);
    add(2, 3, 12, &[1, 1], false, Gated);
    add(1, 1, 1, &[3], true, SideBySide);
    add(3, 5, 40, &[12, 20], true, SideBySide);
    add(1, FEW_ROWS, 32, &[16], true, Added);
    add(2, FEW_ROWS, 32, &[16, 16], true, Gated);
    let transposed = |batch, seq, d_input, width| Case {
        batch,
        seq,
        d_input,
        widths: vec![width],
        has_norm: false,
        output: SideBySide,
        is_transposed: true,
        weights: DType::F32,
    };
    cases.push(transposed(1, 1, 576, 1000));
    cases.push(transposed(5, 1, 30, 70));
    cases.push(transposed(2, 3, 33, 64));
    cases.push(transposed(FEW_ROWS_OF_HEAD, 1, 20, 36));
    cases.push(transposed(FEW_ROWS_OF_HEAD + 3, 1, 20, 36));
    let added = Case {
        output: Added,
        ..transposed(1, 2, 24, 12)
    };
    cases.push(added);
    for at in [0, 2, 3, 9, 15] {
        let half = Case {
            weights: DType::BF16,
            ..cases[at].clone()
        };
        cases.push(half);
    }
    cases
}

/// Whether the backend has the case's types.
pub(crate) fn is_supported<B: Backend>(case: &Case) -> bool {
    B::supports_dtype(&device::<B>(), case.weights)
}

/// Inputs on the host: what is absent is empty.
pub(crate) struct Inputs {
    x: Vec<f32>,
    norm: Vec<f32>,
    weights: Vec<Vec<f32>>,
    residual: Vec<f32>,
}

impl Case {
    fn d_output(&self) -> usize {
        match self.output {
            FusedOutputKind::SideBySide => self.widths.iter().sum(),
            FusedOutputKind::Added | FusedOutputKind::Gated => self.widths[0],
        }
    }

    /// Weights are of sixteenths, which bf16 holds.
    pub(crate) fn inputs(&self, seed: u64) -> Inputs {
        let (rows, mut seeded) = (self.batch * self.seq, Seeded::new(seed));
        let weight = |width: &usize, seeded: &mut Seeded| {
            let values = seeded.uniforms(self.d_input * width, -1.0, 1.0);
            let values = values
                .into_iter()
                .map(|value| (value * 16.0).round() / 16.0);
            values.collect::<Vec<f32>>()
        };
        let norm = if self.has_norm { self.d_input } else { 0 };
        let residual = match self.output {
            FusedOutputKind::Added => rows * self.d_output(),
            FusedOutputKind::SideBySide | FusedOutputKind::Gated => 0,
        };
        Inputs {
            x: seeded.uniforms(rows * self.d_input, -2.0, 2.0),
            norm: seeded.uniforms(norm, 0.5, 1.5),
            weights: (self.widths.iter())
                .map(|width| weight(width, &mut seeded))
                .collect(),
            residual: seeded.uniforms(residual, -2.0, 2.0),
        }
    }

    /// The operation's inputs on the device.
    pub(crate) fn tensors<B: Backend>(&self, inputs: &Inputs) -> FusedLinearInputs<B> {
        let rows = |values: &[f32], width| {
            wrap::<B, 3>(upload::<B>(values, &[self.batch, self.seq, width]))
        };
        let weight = |(values, width): (&Vec<f32>, &usize)| -> Tensor<B, 2> {
            if !self.is_transposed {
                let weight = wrap::<B, 2>(upload::<B>(values, &[self.d_input, *width]));
                return weight.cast(self.weights);
            }
            let column = |at: usize| values.iter().skip(at).step_by(*width);
            let turned: Vec<f32> = (0..*width).flat_map(column).copied().collect();
            let weight = wrap::<B, 2>(upload::<B>(&turned, &[*width, self.d_input]));
            weight.cast(self.weights).transpose()
        };
        let norm = || (wrap(upload::<B>(&inputs.norm, &[self.d_input])), EPS);
        FusedLinearInputs {
            x: rows(&inputs.x, self.d_input),
            norm: self.has_norm.then(norm),
            weights: inputs
                .weights
                .iter()
                .zip(&self.widths)
                .map(weight)
                .collect(),
            output: match self.output {
                FusedOutputKind::SideBySide => FusedOutput::SideBySide,
                FusedOutputKind::Gated => FusedOutput::Gated,
                FusedOutputKind::Added => {
                    FusedOutput::Added(rows(&inputs.residual, self.d_output()))
                }
            },
        }
    }

    /// The definition.
    pub(crate) fn naive(&self, inputs: &Inputs) -> Vec<f64> {
        let mut out = Vec::new();
        for (row, x) in inputs.x.chunks_exact(self.d_input).enumerate() {
            let mut x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            if self.has_norm {
                let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
                let scale = 1.0 / (mean + EPS).sqrt();
                let weights = inputs.norm.iter().map(|weight| f64::from(*weight));
                x.iter_mut()
                    .zip(weights)
                    .for_each(|(x, weight)| *x *= scale * weight);
            }
            let product = |(weight, width): (&Vec<f32>, &usize)| -> Vec<f64> {
                let dot = |column: usize| {
                    let line = |(at, x): (usize, &f64)| x * f64::from(weight[at * width + column]);
                    x.iter().enumerate().map(line).sum()
                };
                (0..*width).map(dot).collect()
            };
            let products: Vec<Vec<f64>> = inputs
                .weights
                .iter()
                .zip(&self.widths)
                .map(product)
                .collect();
            match self.output {
                FusedOutputKind::SideBySide => out.extend(products.concat()),
                FusedOutputKind::Added => {
                    let width = self.d_output();
                    let residual = &inputs.residual[row * width..][..width];
                    let pairs = products[0].iter().zip(residual);
                    out.extend(pairs.map(|(sum, residual)| sum + f64::from(*residual)));
                }
                FusedOutputKind::Gated => {
                    let pairs = products[0].iter().zip(&products[1]);
                    out.extend(pairs.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up));
                }
            }
        }
        out
    }

    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let inputs = self.inputs(7);
        let tensors = self.tensors::<B>(&inputs);
        free_nan::<B>([self.batch * self.seq * self.d_output()].into_iter());
        let out = fused_linear(tensors).expect("the shapes agree");
        let out: Vec<f32> = out.into_data().iter::<f32>().collect();
        let mut out = TensorCheck::new("out", &out, &self.naive(&inputs));
        let rows = self.batch * self.seq;
        // More rows are the backend's own products.
        if rows > FEW_ROWS || self.is_transposed && rows > FEW_ROWS_OF_HEAD {
            let sizes = [1, rows, self.d_input, self.widths.iter().sum()];
            out.tolerance = with_products::<B>(out.tolerance, &[sizes]);
        }
        vec![out]
    }

    /// Sizes and options, short.
    pub(crate) fn label(&self) -> String {
        let norm = if self.has_norm { " norm" } else { "" };
        let turned = if self.is_transposed {
            " transposed"
        } else {
            ""
        };
        format!(
            "b{} l{} {} to {:?} {:?}{norm}{turned}, weights {:?}",
            self.batch, self.seq, self.d_input, self.widths, self.output, self.weights
        )
    }
}
