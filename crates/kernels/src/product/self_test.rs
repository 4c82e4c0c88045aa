//! The product in f64, and its cases.

use super::product;
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::compare::BF16_TOLERANCE;
use crate::self_test::host::{device, upload};
use crate::self_test::products::with_products;
use burn::tensor::{DType, FloatDType, bf16};

/// Sizes, and how the operands lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    /// The columns of an operand lie together, not its rows.
    pub(crate) is_turned: [bool; 2],
    pub(crate) dtype: DType,
}

/// Sizes on and off the grid of every tile, results that one part of the device computes and inner dimensions that are cut.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |[batch, rows, inner, columns]: [usize; 4], is_turned, dtype| {
        cases.push(Case {
            batch,
            rows,
            inner,
            columns,
            is_turned,
            dtype,
        });
    };
    let (straight, left, right) = ([false, false], [true, false], [false, true]);
    for sizes in [[1, 5, 3, 7], [2, 33, 40, 17]] {
        for is_turned in [straight, left, right] {
            add(sizes, is_turned, DType::F32);
            add(sizes, is_turned, DType::BF16);
        }
    }
    for sizes in [[1, 200, 72, 136], [3, 96, 64, 128], [1, 130, 200, 584]] {
        for is_turned in [straight, left, right, [true, true]] {
            add(sizes, is_turned, DType::BF16);
        }
    }
    add([1, 64, 2048, 72], left, DType::BF16);
    add([1, 40, 4096, 136], left, DType::BF16);
    add([1, 24, 2056, 16], left, DType::BF16);
    cases
}

impl Case {
    fn operands(&self) -> [Vec<f32>; 2] {
        let mut seeded = Seeded::new(9);
        [self.rows, self.columns].map(|side| {
            let values = seeded.uniforms(self.batch * side * self.inner, -1.0, 1.0);
            match self.dtype {
                // What both sides multiply.
                DType::BF16 => values
                    .into_iter()
                    .map(|value| bf16::from_f32(value).to_f32())
                    .collect(),
                _ => values,
            }
        })
    }

    /// The product by its definition in f64.
    pub(crate) fn naive(&self) -> Vec<f64> {
        let Self {
            rows,
            inner,
            columns,
            ..
        } = *self;
        let [lhs, rhs] = self.operands();
        let element = |index: usize| {
            let (matrix, row, column) = (
                index / (rows * columns),
                index / columns % rows,
                index % columns,
            );
            let at = |step: usize| {
                let left = lhs[(matrix * rows + row) * inner + step];
                let right = rhs[(matrix * inner + step) * columns + column];
                f64::from(left) * f64::from(right)
            };
            (0..inner).map(at).sum()
        };
        (0..self.batch * rows * columns).map(element).collect()
    }

    /// The operation against the definition.
    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let shapes = [
            [self.batch, self.rows, self.inner],
            [self.batch, self.inner, self.columns],
        ];
        let [lhs, rhs] = [0, 1].map(|at| {
            let tensor = wrap::<B, 3>(upload::<B>(&self.operands()[at], &shapes[at]));
            let tensor = tensor.cast(FloatDType::from(self.dtype));
            match self.is_turned[at] {
                // In memory with its axes swapped, and back again.
                true => {
                    let [batch, rows, columns] = tensor.dims();
                    let turned = tensor.swap_dims(1, 2).reshape([batch * rows * columns]);
                    turned.reshape([batch, columns, rows]).swap_dims(1, 2)
                }
                false => tensor,
            }
        });
        let found = match self.batch {
            // Without a batch there is none to walk through.
            1 => {
                let out = product(lhs.squeeze_dim::<2>(0), rhs.squeeze_dim(0));
                out.expect("the shapes agree").unsqueeze()
            }
            _ => product(lhs, rhs).expect("the shapes agree"),
        };
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        let mut check = TensorCheck::new("out", &found, &self.naive());
        let sizes = [self.batch, self.rows, self.inner, self.columns];
        check.tolerance = match self.dtype {
            DType::BF16 => BF16_TOLERANCE,
            _ => with_products::<B>(check.tolerance, &[sizes]),
        };
        vec![check]
    }

    /// Sizes, short.
    pub(crate) fn label(&self) -> String {
        let turned = ["", " left turned", " right turned", " both turned"];
        let turned = turned[usize::from(self.is_turned[0]) + 2 * usize::from(self.is_turned[1])];
        format!(
            "b{} {} x {} x {}{turned}, {:?}",
            self.batch, self.rows, self.inner, self.columns, self.dtype
        )
    }
}

/// Whether the device holds the type of a case.
pub(crate) fn is_supported<B: SsmBackend>(case: &Case) -> bool {
    B::supports_dtype(&device::<B>(), case.dtype)
}
