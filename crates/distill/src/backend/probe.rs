//! Whether the device answers at all, before a command has begun anything.
//!
//! burn's GPU backends panic, in a thread of their own, where there is no driver or no card. Those panics are caught here, for one small
//! tensor, and become an error.
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;

use super::{Device, IS_HOST, InnerBackend, NAME};
use crate::error::DistillError;

/// Characters of a library's own account that are shown: some list every name that they looked for.
const ACCOUNT_CHARS: usize = 160;

/// Makes a tensor of shape `[1]` on `device` and reads it back. The CPU is not asked.
///
/// # Errors
/// [`DistillError::NoDevice`] with what the driver's library said.
pub fn probe(device: &Device) -> Result<(), DistillError> {
    if IS_HOST {
        return Ok(());
    }
    caught(|| {
        Tensor::<InnerBackend, 1>::ones([1], device).into_data();
    })
    .map_err(|account| DistillError::NoDevice {
        backend: NAME,
        account,
    })
}

/// Runs `work` with panics of every thread kept off the terminal; the first of them, where `work` failed.
fn caught(work: impl FnOnce()) -> Result<(), String> {
    let first = Arc::new(Mutex::new(None::<String>));
    let seen = Arc::clone(&first);
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        let account = panic.payload_as_str().unwrap_or("no reason given");
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| shortened(account));
    }));
    let ended = catch_unwind(AssertUnwindSafe(work));
    set_hook(usual);
    let account = first
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_else(|| "no reason given".into());
    ended.map_err(|_| account)
}

/// The first line of `account`, at most [`ACCOUNT_CHARS`] characters of it.
fn shortened(account: &str) -> String {
    let line = account.lines().next().unwrap_or_default();
    match line.char_indices().nth(ACCOUNT_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_another_thread_is_an_error_of_the_work_that_needed_it() {
        let failed = caught(|| {
            let thread = std::thread::spawn(|| panic!("no such library"));
            thread.join().expect("the thread answers");
        });
        assert!(failed.is_err());
        assert_eq!(caught(|| {}), Ok(()));
    }

    #[test]
    fn a_long_account_is_cut_and_a_second_line_left_out() {
        assert_eq!(shortened("no driver\nbacktrace"), "no driver");
        let cut = shortened(&"é".repeat(ACCOUNT_CHARS + 1));
        assert_eq!(cut, format!("{}...", "é".repeat(ACCOUNT_CHARS)));
    }
}
