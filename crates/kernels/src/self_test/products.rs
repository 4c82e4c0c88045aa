//! How exact the device's own matrix products are: where an operation goes by them, it cannot be more exact.

use super::compare::relative_error;
use super::host::device;
use crate::seeded::Seeded;
use burn::tensor::{Device, Tensor, TensorData, backend::Backend};

/// What an operation may make of the error of one product: two products and what lies between them.
const SPREAD: f64 = 4.0;

/// Largest error of the backend's product of f32 tensors `[batch, rows, inner]` and `[batch, inner, columns]` on `device`, relative to the expected
/// value or to the RMS of the result, whichever is larger: some 1e-7 where it computes in f32, some 1e-3 where matrix units round what they multiply to TF32.
pub fn product_error<B: Backend>(
    [batch, rows, inner, columns]: [usize; 4],
    device: &Device<B>,
) -> f64 {
    let mut seeded = Seeded::new(11);
    let x = seeded.uniforms(batch * rows * inner, -1.0, 1.0);
    let y = seeded.uniforms(batch * inner * columns, -1.0, 1.0);
    let tensor = |values: &[f32], dims: [usize; 3]| {
        Tensor::<B, 3>::from_data(TensorData::new(values.to_vec(), dims), device)
    };
    let got = tensor(&x, [batch, rows, inner]).matmul(tensor(&y, [batch, inner, columns]));
    let expected = (0..batch * rows * columns).map(|index| {
        let (row, column) = (index / columns, index % columns);
        let first = row / rows * inner * columns + column;
        let pairs = (0..inner).map(|at| (x[row * inner + at], y[first + at * columns]));
        pairs.map(|(x, y)| f64::from(x) * f64::from(y)).sum::<f64>()
    });
    let expected: Vec<f64> = expected.collect();
    let got: Vec<f32> = got.into_data().iter::<f32>().collect();
    relative_error(&got, &expected)
}

/// Largest error allowed of an operation that goes by the backend's products of these `[batch, rows, inner, columns]`, for one that may be wrong
/// by `tolerance` where they are exact.
pub(crate) fn with_products<B: Backend>(tolerance: f64, products: &[[usize; 4]]) -> f64 {
    let errors = products
        .iter()
        .map(|sizes| product_error::<B>(*sizes, &device::<B>()));
    tolerance.max(SPREAD * errors.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_test::F32_TOLERANCE;
    use burn_flex::Flex;

    /// Batches, and an inner dimension longer than any tile.
    const SIZES: [usize; 4] = [2, 5, 300, 7];

    #[test]
    fn a_product_in_f32_loosens_nothing() {
        let error = product_error::<Flex>(SIZES, &Default::default());
        assert!((1e-9..2e-6).contains(&error), "{error:e}");
        assert_eq!(
            with_products::<Flex>(F32_TOLERANCE, &[SIZES]),
            F32_TOLERANCE
        );
    }
}
