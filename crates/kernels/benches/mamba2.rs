//! Time of the operations of a Mamba2 mixer at the sizes that their speed is judged by.
//!
//! `cargo bench -p kernels --bench mamba2 --no-default-features --features cuda,testing` (or `wgpu`)
//! runs in bf16 if the argument `bf16` is given. `forward` is the plain operation; `both` keeps what
//! the backward pass needs and runs that, through the output. Each figure is the least of several
//! rounds of launches that follow each other without a pause.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};
use kernels::testing::Seeded;
use kernels::{CausalConv1dInputs, SsdInputs, SsdOptions, causal_conv1d, gated_rms_norm, ssd};
use std::time::Instant;

#[cfg(feature = "cuda")]
type Subject = burn::backend::Cuda;
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
type Subject = burn_cubecl::CubeBackend<cubecl::wgpu::WgpuRuntime, f32, i32, u32>;
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
type Subject = burn_flex::Flex;

type Tape = Autodiff<Subject>;

const RUNS: usize = 10;
const ROUNDS: usize = 5;

/// Least milliseconds of a run; the first round compiles.
fn best_ms(mut run: impl FnMut()) -> f64 {
    let device = Default::default();
    let mut best = f64::INFINITY;
    for round in 0..=ROUNDS {
        let start = Instant::now();
        for _ in 0..RUNS {
            run();
        }
        Subject::sync(&device).expect("the device answers");
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64() * 1e3 / RUNS as f64);
        }
    }
    best
}

/// Times `run` on plain inputs and on leaves of a tape; the loss `y . dy` is timed alone and taken off.
fn report(name: &str, dy: Tensor<Tape, 3>, mut run: impl FnMut(bool) -> Option<Tensor<Tape, 3>>) {
    let forward = best_ms(|| {
        run(false);
    });
    let y = dy.clone().inner();
    let loss = best_ms(|| {
        let y = Tensor::<Tape, 3>::from_inner(y.clone()).require_grad();
        (y * dy.clone()).sum().backward();
    });
    let both = best_ms(|| {
        let y = run(true).expect("an output on the tape");
        (y * dy.clone()).sum().backward();
    });
    println!(
        "{name}: forward {forward:.3} ms, both {:.3} ms (loss of {loss:.3} ms taken off)",
        both - loss
    );
}

/// One row of random numbers repeated: generating gigabytes on the host takes longer than the runs.
fn random([batch, seq, width]: [usize; 3], low: f32, high: f32, dtype: DType) -> Tensor<Tape, 3> {
    let device = Default::default();
    let row = Seeded::new(1).tensor::<Subject, 3>([1, 64, width], low, high, &device);
    let row = row.repeat(&[batch, seq.div_ceil(64), 1]).narrow(1, 0, seq);
    Tensor::<Tape, 3>::from_inner(row.cast(dtype)).require_grad()
}

fn parameter(length: usize, low: f32, high: f32) -> Tensor<Tape, 1> {
    let values = Seeded::new(2).tensor::<Subject, 1>([length], low, high, &Default::default());
    Tensor::from_inner(values).require_grad()
}

struct Heads {
    batch: usize,
    seq: usize,
    nheads: usize,
    headdim: usize,
    ngroups: usize,
    d_state: usize,
}

fn bench_ssd(heads: &Heads, dtype: DType) {
    let &Heads {
        batch,
        seq,
        nheads,
        headdim,
        ngroups,
        d_state,
    } = heads;
    let inner = [batch, seq, nheads, headdim];
    let grouped = [batch, seq, ngroups, d_state];
    let leaf = |dims: [usize; 4]| {
        let [batch, seq, streams, width] = dims;
        let flat = random([batch, seq, streams * width], -1.0, 1.0, dtype);
        flat.reshape(dims).detach().require_grad()
    };
    let inputs = SsdInputs::<Tape> {
        x: leaf(inner),
        dt: random([batch, seq, nheads], -3.0, 1.0, dtype),
        a: parameter(nheads, -16.0, -1.0),
        b: leaf(grouped),
        c: leaf(grouped),
        d: Some(parameter(nheads, 0.5, 1.5)),
        z: None,
        dt_bias: Some(parameter(nheads, -4.0, -2.0)),
        initial_state: None,
        reset: None,
    };
    let plain = SsdInputs::<Subject> {
        x: inputs.x.clone().inner(),
        dt: inputs.dt.clone().inner(),
        a: inputs.a.clone().inner(),
        b: inputs.b.clone().inner(),
        c: inputs.c.clone().inner(),
        d: inputs.d.clone().map(Tensor::inner),
        z: None,
        dt_bias: inputs.dt_bias.clone().map(Tensor::inner),
        initial_state: None,
        reset: None,
    };
    let options = SsdOptions::default();
    let dy = random([batch, seq, nheads * headdim], -1.0, 1.0, dtype).detach();
    let name = format!("ssd b{batch} l{seq} h{nheads} p{headdim} g{ngroups} n{d_state} {dtype:?}");
    report(&name, dy, |taped| {
        if !taped {
            ssd(plain.clone(), options).expect("shapes agree");
            return None;
        }
        let y = ssd(inputs.clone(), options).expect("shapes agree").y;
        Some(y.reshape([batch, seq, nheads * headdim]))
    });
}

fn bench_conv(batch: usize, seq: usize, channels: usize, dtype: DType) {
    let inputs = CausalConv1dInputs::<Tape> {
        x: random([batch, seq, channels], -1.0, 1.0, dtype),
        weight: (parameter(channels * 4, -0.5, 0.5).reshape([channels, 4]))
            .detach()
            .require_grad(),
        bias: Some(parameter(channels, -0.5, 0.5)),
        initial_window: None,
        reset: None,
    };
    let plain = CausalConv1dInputs::<Subject> {
        x: inputs.x.clone().inner(),
        weight: inputs.weight.clone().inner(),
        bias: inputs.bias.clone().map(Tensor::inner),
        initial_window: None,
        reset: None,
    };
    let dy = inputs.x.clone().detach();
    let name = format!("conv b{batch} l{seq} c{channels} {dtype:?}");
    report(&name, dy, |taped| {
        if !taped {
            causal_conv1d(plain.clone(), true).expect("shapes agree");
            return None;
        }
        Some(causal_conv1d(inputs.clone(), true).expect("shapes agree").y)
    });
}

fn bench_norm(batch: usize, seq: usize, channels: usize, group_size: usize, dtype: DType) {
    let y = random([batch, seq, channels], -1.0, 1.0, dtype);
    let z = random([batch, seq, channels], -1.0, 1.0, dtype);
    let weight = parameter(channels, 0.5, 1.5);
    let (plain_y, plain_z) = (y.clone().inner(), z.clone().inner());
    let plain_weight = weight.clone().inner();
    let name = format!("norm b{batch} l{seq} c{channels} of {group_size} {dtype:?}");
    report(&name, y.clone().detach(), |taped| {
        if !taped {
            let (y, z) = (plain_y.clone(), plain_z.clone());
            gated_rms_norm(y, z, plain_weight.clone(), group_size, 1e-5).expect("shapes agree");
            return None;
        }
        let (y, z) = (y.clone(), z.clone());
        Some(gated_rms_norm(y, z, weight.clone(), group_size, 1e-5).expect("shapes agree"))
    });
}

fn main() {
    let dtype = match std::env::args().any(|argument| argument == "bf16") {
        true => DType::BF16,
        false => DType::F32,
    };
    let device = Default::default();
    if !Subject::supports_dtype(&device, dtype) {
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
        bench_ssd(&heads(1, 512, 9, 64, 9, 64), dtype);
        bench_conv(1, 512, 960, dtype);
        bench_norm(1, 512, 576, 64, dtype);
        return;
    }
    bench_ssd(&heads(8, 2048, 32, 128, 32, 128), dtype);
    bench_ssd(&heads(1, 2048, 32, 128, 32, 128), dtype);
    bench_ssd(&heads(8, 2048, 9, 64, 9, 64), dtype);
    bench_ssd(&heads(8, 512, 9, 64, 3, 64), dtype);
    bench_conv(8, 2048, 4096, dtype);
    bench_conv(8, 2048, 960, dtype);
    bench_norm(8, 2048, 4096, 128, dtype);
    bench_norm(8, 2048, 576, 64, dtype);
}
