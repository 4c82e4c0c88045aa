//! Reading from a device that goes on with what it is asked next.

use burn::tensor::{Int, Tensor, TensorData};

use crate::backend::SsmBackend;

/// Numbers on their way to the host.
pub struct Reading(Box<dyn FnOnce() -> TensorData + Send>);

impl Reading {
    /// Numbers that `wait` returns as soon as they are there.
    pub(crate) fn new(wait: impl FnOnce() -> TensorData + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// The numbers, waited for.
    ///
    /// # Panics
    /// If the device fails.
    pub fn wait(self) -> TensorData {
        self.0()
    }
}

/// Asks for `ids` to be read after all that was asked for before, and before all that is asked for later.
///
/// Where [`SsmBackend::IS_QUEUED`], the host is free until [`Reading::wait`]: it can queue the device's next work, so that the device need
/// not idle while the numbers travel. Elsewhere they are read at once.
pub fn read_soon<B: SsmBackend, const D: usize>(ids: Tensor<B, D, Int>) -> Reading {
    B::read_soon(ids.into_primitive())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::subject::Subject;

    #[test]
    fn what_is_asked_for_later_does_not_change_what_is_read() {
        let device = Default::default();
        let counted = Tensor::<Subject, 1, Int>::arange(0..12, &device).reshape([4, 3]);
        // The second is no run of memory.
        let tensors = [counted.clone(), counted.clone().swap_dims(0, 1)];
        let readings = tensors.map(read_soon);
        let after = read_soon(counted.clone() + 100);
        drop(counted);
        let found = readings.map(|reading| reading.wait().iter::<i64>().collect::<Vec<_>>());
        assert_eq!(found[0], (0..12).collect::<Vec<i64>>());
        assert_eq!(found[1], [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        assert_eq!(after.wait().iter::<i64>().max(), Some(111));
    }
}
