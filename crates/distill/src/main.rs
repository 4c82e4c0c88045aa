//! The `distill` binary: everything is in the library, so that tests and examples reach it too.
use std::process::ExitCode;

fn main() -> ExitCode {
    distill::main_with_args(std::env::args_os())
}
