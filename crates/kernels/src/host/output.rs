//! One output buffer, written by many tasks at once, each to its own part.

use std::marker::PhantomData;

/// A slice whose disjoint parts are written by different threads.
pub(crate) struct Output<'a> {
    start: *mut f32,
    length: usize,
    _borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `part`, whose callers promise that no two of them overlap.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            _borrow: PhantomData,
        }
    }

    /// Elements `first..first + length`.
    ///
    /// # Safety
    /// While the returned slice is in use no other part may overlap it.
    #[inline(always)]
    #[expect(
        clippy::mut_from_ref,
        reason = "parts are disjoint by the caller's promise"
    )]
    pub(crate) unsafe fn part(&self, first: usize, length: usize) -> &mut [f32] {
        assert!(
            first + length <= self.length,
            "part of an output lies outside of it"
        );
        // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), length) }
    }
}

/// Sums the leading axis away, in order.
pub(crate) fn fold(values: &mut Vec<f32>, length: usize) {
    if values.len() <= length {
        return;
    }
    let (sum, rest) = values.split_at_mut(length);
    for part in rest.chunks_exact(length) {
        for (sum, value) in sum.iter_mut().zip(part) {
            *sum += value;
        }
    }
    values.truncate(length);
}
