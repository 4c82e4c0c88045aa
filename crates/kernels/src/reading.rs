//! Reading from a device that goes on with what it is asked next.

use burn::tensor::{Int, Tensor, TensorData};

use crate::backend::SsmBackend;

/// Reads `ids`, and calls `ask` meanwhile for what the device is to do next; returns both results.
///
/// Where [`SsmBackend::IS_QUEUED`], the copy of `ids` is in the device's queue before `ask` is called and is waited for after it, so that the
/// device need not idle while the numbers travel and the host thinks. Elsewhere one follows the other.
///
/// # Panics
/// If the device fails.
pub fn read_while<B: SsmBackend, const D: usize, T>(
    ids: Tensor<B, D, Int>,
    ask: impl FnOnce() -> T,
) -> (TensorData, T) {
    B::read_while(ids.into_primitive(), ask)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::subject::Subject;

    #[test]
    fn what_is_asked_for_meanwhile_does_not_change_what_is_read() {
        let device = Default::default();
        let counted = Tensor::<Subject, 1, Int>::arange(0..12, &device).reshape([4, 3]);
        let (found, sums) = read_while(counted.clone(), || counted.clone() + 100);
        assert_eq!(
            found.iter::<i64>().collect::<Vec<_>>(),
            (0..12).collect::<Vec<i64>>()
        );
        // No run of memory, and nobody else's.
        let (found, ()) = read_while(counted.swap_dims(0, 1), || ());
        let found: Vec<i64> = found.iter().collect();
        assert_eq!(found, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        let sums: Vec<i64> = sums.into_data().iter().collect();
        assert_eq!(sums, (100..112).collect::<Vec<i64>>());
    }
}
