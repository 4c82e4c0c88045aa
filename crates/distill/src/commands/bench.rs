//! `bench`: how fast the operations run on this device, beside what another implementation reaches.
mod dashboard;
mod decode;
pub(super) mod speculative;
mod step;

use std::io::{self, Write};

use burn::tensor::{DType, backend::Backend};
use eval::report::{Cell, Table};
use kernels::speed::{self, Channels, DecodeHeads, Heads, Measurement};

use crate::backend::{self, Device, InnerBackend};
use crate::cli::{BenchArgs, BenchCommand, KernelsArgs};
use crate::commands::Outcome;

/// Forward, and forward and backward, in milliseconds: `mamba_ssm` 2.3.2.post1 in bf16 on one H200 (PyTorch 2.11,
/// CUDA 13.0), median of 20, L2 flushed. The state update is inside a CUDA graph and without the rest of a step.
type Peer = Option<[Option<f64>; 2]>;

const PEER: &str = "peer: mamba_ssm 2.3.2.post1, bf16, one H200 (PyTorch 2.11, CUDA 13.0); its decode step is the \
                    state update alone, in a CUDA graph";

/// Prints a table of times on stdout.
///
/// # Errors
/// A closed stdout.
pub fn run(args: BenchArgs, device: &Device) -> anyhow::Result<Outcome> {
    match args.subject {
        BenchCommand::Kernels(args) => run_kernels(&args, device),
        BenchCommand::Step(args) => step::run(&args, device),
        BenchCommand::Dashboard(args) => dashboard::run(&args),
        BenchCommand::Decode(args) => decode::run(&args, device),
        BenchCommand::Speculative(args) => speculative::run(&args, device),
    }
}

fn run_kernels(args: &KernelsArgs, device: &Device) -> anyhow::Result<Outcome> {
    let is_gpu = matches!(backend::NAME, "cuda" | "rocm");
    let dtype = match is_gpu && InnerBackend::supports_dtype(device, DType::BF16) {
        true => DType::BF16,
        false => DType::F32,
    };
    let copy = copy_gigabytes_per_s();
    let mut table = Table::new()
        .text_column("op", "op")
        .text_column("case", "case")
        .number_column("forward_ms", "forward ms")
        .number_column("forward_gb_s", "GB/s")
        .number_column("forward_of_copy", "of copy")
        .number_column("peer_forward_ms", "peer ms")
        .number_column("both_ms", "fwd+bwd ms")
        .number_column("both_gb_s", "GB/s")
        .number_column("both_of_copy", "of copy")
        .number_column("peer_both_ms", "peer ms");
    let mut push = |measured: Measurement, peer: Peer| {
        let rate = measured.forward_gigabytes_per_s();
        let both_rate = measured.both_gigabytes_per_s();
        let [peer_forward, peer_both] = peer.unwrap_or_default();
        let ms = |ms: Option<f64>| Cell::from(ms.map(|ms| Cell::number(ms, 3)));
        table.push([
            Cell::text(measured.op),
            Cell::text(measured.case),
            Cell::number(measured.forward_ms, 3),
            Cell::number(rate, 1),
            Cell::percent(rate / copy),
            ms(peer_forward),
            ms(measured.both_ms),
            both_rate.map(|rate| Cell::number(rate, 1)).into(),
            both_rate.map(|rate| Cell::percent(rate / copy)).into(),
            ms(peer_both),
        ]);
    };
    match is_gpu {
        true => gpu_cases(dtype, &mut push),
        false => small_cases(dtype, &mut push),
    }
    let mut out = io::stdout().lock();
    if args.json {
        let report = serde_json::json!({
            "backend": backend::NAME,
            "device": format!("{device:?}"),
            "copy_gb_s": copy,
            "peer": PEER,
            "rows": table.to_json(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "{} {device:?}: copies {copy:.1} GB/s", backend::NAME)?;
    writeln!(out, "GB/s count each tensor once")?;
    if is_gpu {
        writeln!(out, "{PEER}")?;
    }
    write!(out, "\n{}", table.to_text())?;
    Ok(Outcome::Done)
}

/// Bandwidth of a copy on this device.
fn copy_gigabytes_per_s() -> f64 {
    // Beyond the caches of a GPU; on a CPU below the size that is mapped afresh for each tensor.
    let elements = if backend::IS_HOST { 1 << 22 } else { 1 << 28 };
    speed::copy_gigabytes_per_s::<InnerBackend>(elements)
}

/// The sizes of the peer's figures, and of the other operations of such a model.
fn gpu_cases(dtype: DType, push: &mut dyn FnMut(Measurement, Peer)) {
    type B = InnerBackend;
    let both = |forward, both| Some([Some(forward), Some(both)]);
    for (batch, seq, d_inner, ngroups, peer) in [
        (8, 2048, 4096, 256, both(1.321, 6.27)),
        (1, 2048, 4096, 256, both(0.188, 0.898)),
        (8, 2048, 576, 36, both(0.193, 0.979)),
        (1, 16384, 4096, 256, both(1.488, 6.905)),
    ] {
        let sizes = Channels {
            batch,
            seq,
            d_inner,
            ngroups,
            d_state: 16,
        };
        push(speed::selective_scan::<B>(sizes, dtype), peer);
    }
    for (batch, nheads, headdim, ngroups, peer) in [
        (8, 32, 128, 32, both(0.862, 4.93)),
        (8, 32, 128, 8, both(0.811, 5.30)),
        (1, 32, 128, 32, both(0.479, 3.34)),
        (8, 9, 64, 9, None),
    ] {
        let sizes = Heads {
            batch,
            seq: 2048,
            nheads,
            headdim,
            ngroups,
            d_state: headdim,
        };
        push(speed::ssd::<B>(sizes, dtype), peer);
    }
    for channels in [4096, 960] {
        push(speed::causal_conv1d::<B>([8, 2048, channels], dtype), None);
    }
    for (channels, group_size) in [(4096, 128), (576, 64)] {
        let norm = speed::gated_rms_norm::<B>([8, 2048, channels], group_size, dtype);
        push(norm, None);
    }
    for dims in [[4, 8, 4, 2048], [8, 3, 3, 2048]] {
        push(speed::masked_softmax::<B>(dims, dtype), None);
    }
    for [d_model, intermediate_size, heads] in [[4096, 14336, 32], [576, 1536, 9]] {
        push(speed::rms_norm::<B>([8, 2048, d_model], dtype), None);
        push(
            speed::swiglu::<B>([8, 2048, intermediate_size], dtype),
            None,
        );
        let head_dim = d_model / heads;
        push(speed::rotary::<B>([8, 2048, heads, head_dim], dtype), None);
    }
    let heads = DecodeHeads {
        nheads: 32,
        kv_heads: 8,
        headdim: 128,
    };
    for (batch, peer) in [(1, 0.0054), (64, 0.077)] {
        push(
            speed::decode_step::<B>(heads, batch, dtype),
            Some([Some(peer), None]),
        );
    }
}

/// Sizes of a small model, a few seconds on a CPU.
fn small_cases(dtype: DType, push: &mut dyn FnMut(Measurement, Peer)) {
    type B = InnerBackend;
    let sizes = Channels {
        batch: 1,
        seq: 512,
        d_inner: 576,
        ngroups: 36,
        d_state: 16,
    };
    push(speed::selective_scan::<B>(sizes, dtype), None);
    let sizes = Heads {
        batch: 1,
        seq: 512,
        nheads: 9,
        headdim: 64,
        ngroups: 9,
        d_state: 64,
    };
    push(speed::ssd::<B>(sizes, dtype), None);
    push(speed::causal_conv1d::<B>([1, 512, 960], dtype), None);
    push(speed::gated_rms_norm::<B>([1, 512, 576], 64, dtype), None);
    push(speed::masked_softmax::<B>([1, 3, 3, 512], dtype), None);
    push(speed::rms_norm::<B>([1, 512, 576], dtype), None);
    push(speed::swiglu::<B>([1, 512, 1536], dtype), None);
    push(speed::rotary::<B>([1, 512, 9, 64], dtype), None);
    let heads = DecodeHeads {
        nheads: 9,
        kv_heads: 3,
        headdim: 64,
    };
    for batch in [1, 8] {
        push(speed::decode_step::<B>(heads, batch, dtype), None);
    }
}
