//! The `k` largest of each row as a mask.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// Halvings of the range in which the threshold is sought.
const HALVINGS: usize = 32;

/// Which values belong to the `k` largest of their row, `[rows, columns]`.
///
/// The threshold is found by bisection, as a sort leaves the device on most backends. Values that differ by less than the
/// row's range over 2^32 count as equal, and equal values stay together: a mask may hold more than `k` of a row.
pub fn top_k_mask<B: Backend>(values: Tensor<B, 2>, k: usize) -> Tensor<B, 2, Bool> {
    // Invariant: at least `k` values are `>= low`.
    let mut low = values.clone().min_dim(1);
    let mut high = values.clone().max_dim(1);
    for _ in 0..HALVINGS {
        let middle = (low.clone() + high.clone()).mul_scalar(0.5);
        let count = values
            .clone()
            .greater_equal(middle.clone().expand(values.shape()))
            .float()
            .sum_dim(1);
        let has_enough = count.greater_equal_elem(k as f32);
        low = low.mask_where(has_enough.clone(), middle.clone());
        high = middle.mask_where(has_enough, high);
    }
    values.clone().greater_equal(low.expand(values.shape()))
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_the_values_that_a_sort_puts_first(
            row in prop::collection::vec(-20f32..20.0, 2..40),
            share in 0.0..1.0f64,
        ) {
            let k = 1 + (share * (row.len() - 1) as f64) as usize;
            let mut sorted = row.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let expected: Vec<bool> = row.iter().map(|value| *value >= sorted[k - 1]).collect();
            let values = TensorData::new(row.clone(), [1, row.len()]);
            let mask = top_k_mask(Tensor::<Flex, 2>::from_data(values, &Default::default()), k);
            let got: Vec<bool> = mask.into_data().iter::<bool>().collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn equal_values_stay_together() {
        let values =
            Tensor::<Flex, 2>::from_data([[3.0, 1.0, 3.0, 2.0], [5.0; 4]], &Default::default());
        let got: Vec<bool> = top_k_mask(values, 1).into_data().iter::<bool>().collect();
        assert_eq!(got, [true, false, true, false, true, true, true, true]);
    }
}
