//! Memory that a device does not have.
//!
//! A GPU backend of burn allocates on a thread of its own and panics there; what waits for the result fails later, of
//! something that follows from it, or goes on with numbers that mean nothing. So the panic is watched for where it
//! happens, and looked up after every step.
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::backend::Backend;

/// Bytes of an allocation that failed in this process; 0 while none did.
static FAILED_BYTES: AtomicU64 = AtomicU64::new(0);

/// How cubecl says that a device has no room, before the number of bytes.
const FAILURE: &str = "can't allocate buffer of size: ";

/// Runs `work` on a device. `Err` has the bytes that could not be allocated when that is why it failed.
///
/// # Panics
/// As `work` does, for any other reason.
pub(crate) fn attempt<R>(
    work: impl FnOnce() -> anyhow::Result<R>,
) -> Result<anyhow::Result<R>, u64> {
    watch();
    attempt_noting(&FAILED_BYTES, work)
}

fn attempt_noting<R>(
    failed_bytes: &AtomicU64,
    work: impl FnOnce() -> anyhow::Result<R>,
) -> Result<anyhow::Result<R>, u64> {
    failed_bytes.store(0, Ordering::SeqCst);
    let result = catch_unwind(AssertUnwindSafe(work));
    let bytes = failed_bytes.swap(0, Ordering::SeqCst);
    match result {
        // Even if nothing else failed: what was computed without that memory is nonsense.
        _ if bytes > 0 => Err(bytes),
        Ok(result) => Ok(result),
        Err(panic) => resume_unwind(panic),
    }
}

/// After `bytes` could not be allocated: waits until the device is through with what was asked of it, whatever became of that,
/// and gives back the memory that nothing holds, so that work of other sizes can begin.
pub(crate) fn recover<B: Backend>(bytes: u64, device: &B::Device) {
    // What fails on the way follows from the allocation, and is not printed.
    FAILED_BYTES.store(bytes, Ordering::SeqCst);
    for clear in [
        |device: &B::Device| drop(B::sync(device)),
        |device: &B::Device| B::memory_cleanup(device),
    ] {
        let _ = catch_unwind(AssertUnwindSafe(|| clear(device)));
    }
    FAILED_BYTES.store(0, Ordering::SeqCst);
}

/// Fails if an allocation has: asked after every step, because a device may go on with nonsense.
///
/// # Errors
/// With the bytes, for [`attempt`] to say more.
pub(crate) fn check() -> anyhow::Result<()> {
    let bytes = FAILED_BYTES.load(Ordering::SeqCst);
    anyhow::ensure!(bytes == 0, "the device has no room for {bytes} bytes more");
    Ok(())
}

/// Notes failed allocations instead of printing them, and leaves out the panics that follow from one.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            match info.payload_as_str().and_then(failed_bytes) {
                Some(bytes) => FAILED_BYTES.store(bytes, Ordering::SeqCst),
                None if FAILED_BYTES.load(Ordering::SeqCst) > 0 => {}
                None => before(info),
            }
        }));
    });
}

/// The bytes in a message about a failed allocation.
fn failed_bytes(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once(FAILURE)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_allocation_is_told_from_what_follows_it_and_from_other_failures() {
        let failed = AtomicU64::new(9);
        let note = || {
            let message = "called `Result::unwrap()` on an `Err` value: can't allocate buffer of size: 4096\n0: x";
            failed.store(failed_bytes(message).unwrap(), Ordering::SeqCst);
        };
        let attempt = |work: &dyn Fn() -> anyhow::Result<u32>| attempt_noting(&failed, work);
        // An earlier failure that nobody asked about is no reason for a later one.
        assert_eq!(attempt(&|| Ok(3)).unwrap().unwrap(), 3);
        let other = attempt(&|| anyhow::bail!("no such file")).unwrap();
        assert_eq!(other.unwrap_err().to_string(), "no such file");
        let caught = attempt(&|| {
            note();
            anyhow::bail!("couldn't find resource for that handle")
        });
        assert_eq!(caught.unwrap_err(), 4096);
        let caught = attempt(&|| {
            note();
            panic!("planted: reading data")
        });
        assert_eq!(caught.unwrap_err(), 4096);
        assert_eq!(
            attempt(&|| Ok({
                note();
                3
            }))
            .unwrap_err(),
            4096
        );
        let panicked = catch_unwind(AssertUnwindSafe(|| attempt(&|| panic!("planted: other"))));
        assert!(panicked.is_err());
        assert_eq!(failed_bytes("index out of bounds"), None);
    }
}
