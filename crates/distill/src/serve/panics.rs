//! A panic ends what caused it and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What `work` returns; none if it panicked, which the panic hook has shown.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Whoever calls this drops what `work` may have left half done.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// A future that is over, with nothing, when the one in it panics.
pub(super) struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Caught<F> {
    pub(super) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match caught(|| self.0.as_mut().poll(context)) {
            Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_panics_is_over_with_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let fails = async {
            tokio::task::yield_now().await;
            assert_eq!(1, 2, "on purpose");
        };
        assert_eq!(runtime.block_on(Caught::new(fails)), None);
        assert_eq!(runtime.block_on(Caught::new(async { 7 })), Some(7));
    }
}
