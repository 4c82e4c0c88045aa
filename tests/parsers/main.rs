//! Files from outside, changed at random: no panic, bounded memory, nothing read beside the model's folder.
//!
//! A usual run reads some thousand; `PARSER_SECONDS=3600 cargo test --release -p distill --test parsers gguf -- --nocapture` reads as
//! many of one format as an hour takes; `PARSER_ROUND=1000000` reads others, so that several processes can share the hour. A file that
//! a mended fault was found with goes into `tests/fixtures/parsers`.
#![expect(clippy::print_stderr, reason = "says how many files were read")]
mod allocator;
mod claims;
mod format;
mod model_files;
mod mutation;
mod run_files;
mod templates;

use std::panic::set_hook;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Nothing else of this process is running: memory is counted for the whole of it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static QUIET: Once = Once::new();
    // With RUST_BACKTRACE a panic that is caught loads the symbols of the whole binary, which would be counted.
    QUIET.call_once(|| set_hook(Box::new(|info| eprintln!("{info}"))));
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
