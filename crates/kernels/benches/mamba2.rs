//! Time of the operations of a Mamba2 mixer at the sizes that their speed is judged by.
//!
//! `cargo bench -p kernels --bench mamba2 --no-default-features --features cuda,testing` (or `wgpu`)
//! runs in bf16 if the argument `bf16` is given; see `kernels::speed`.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use burn::tensor::{DType, backend::Backend};
use kernels::speed::{Heads, Measurement, causal_conv1d, gated_rms_norm, ssd};

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
    let heads = |batch, seq, nheads, headdim, ngroups, d_state| Heads {
        batch,
        seq,
        nheads,
        headdim,
        ngroups,
        d_state,
    };
    if cfg!(not(feature = "cuda")) {
        report(&ssd::<Subject>(heads(1, 512, 9, 64, 9, 64), dtype));
        report(&causal_conv1d::<Subject>([1, 512, 960], dtype));
        report(&gated_rms_norm::<Subject>([1, 512, 576], 64, dtype));
        return;
    }
    report(&ssd::<Subject>(heads(8, 2048, 32, 128, 32, 128), dtype));
    report(&ssd::<Subject>(heads(1, 2048, 32, 128, 32, 128), dtype));
    report(&ssd::<Subject>(heads(8, 2048, 9, 64, 9, 64), dtype));
    report(&ssd::<Subject>(heads(8, 512, 9, 64, 3, 64), dtype));
    report(&causal_conv1d::<Subject>([8, 2048, 4096], dtype));
    report(&causal_conv1d::<Subject>([8, 2048, 960], dtype));
    report(&gated_rms_norm::<Subject>([8, 2048, 4096], 128, dtype));
    report(&gated_rms_norm::<Subject>([8, 2048, 576], 64, dtype));
}
