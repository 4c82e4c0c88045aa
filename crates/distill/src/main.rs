//! The `distill` binary: everything is in the library, so that tests and examples reach it too.
use std::process::ExitCode;

/// In place of musl's, which takes one lock for all threads and has this binary take up to twice as long.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    distill::main_with_args(std::env::args_os())
}
