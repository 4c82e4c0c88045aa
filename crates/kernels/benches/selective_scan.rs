//! Time of the selective scan at the sizes that its speed is judged by.
//!
//! `cargo bench -p kernels --bench selective_scan --no-default-features --features cuda,testing` (or
//! `wgpu`) runs in bf16 if the argument `bf16` is given, and only the case whose number is; see
//! `kernels::speed`.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use burn::tensor::{DType, backend::Backend};
use kernels::speed::{self, Channels, Measurement};

#[cfg(feature = "cuda")]
type Subject = burn::backend::Cuda;
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
type Subject = burn::backend::Wgpu;
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
type Subject = burn_flex::Flex;

fn report(measured: &Measurement) {
    println!(
        "{} {}: forward {:.3} ms, both {:.3} ms",
        measured.op,
        measured.case,
        measured.forward_ms,
        measured.both_ms.expect("it trains")
    );
}

fn main() {
    let dtype = match std::env::args().any(|argument| argument == "bf16") {
        true => DType::BF16,
        false => DType::F32,
    };
    if !Subject::supports_dtype(&Default::default(), dtype) {
        println!("{dtype:?} is not supported");
        return;
    }
    let sizes: &[_] = match cfg!(feature = "cuda") {
        true => &[
            (8, 2048, 4096, 256),
            (1, 2048, 4096, 256),
            (8, 2048, 576, 36),
            (8, 2048, 576, 9),
            (1, 2048, 576, 36),
            (1, 16384, 4096, 256),
        ],
        false => &[(1, 512, 576, 36)],
    };
    let only = std::env::args().find_map(|argument| argument.parse().ok());
    for (index, &(batch, seq, d_inner, ngroups)) in sizes.iter().enumerate() {
        if only.is_some_and(|only: usize| only != index) {
            continue;
        }
        let sizes = Channels {
            batch,
            seq,
            d_inner,
            ngroups,
            d_state: 16,
        };
        report(&speed::selective_scan::<Subject>(sizes, dtype));
    }
}
