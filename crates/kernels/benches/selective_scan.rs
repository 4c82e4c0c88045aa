//! Time of the selective scan at the sizes that its speed is judged by.
//!
//! `cargo bench -p kernels --bench selective_scan --no-default-features --features cuda,testing` (or
//! `wgpu`) runs in bf16 if the argument `bf16` is given. `forward` is the plain scan; `both` keeps what
//! the backward pass needs and runs that, through the output. Each figure is the least of several rounds
//! of launches that follow each other without a pause.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};
use kernels::testing::Seeded;
use kernels::{SelectiveScanInputs, selective_scan};
use std::time::Instant;

#[cfg(feature = "cuda")]
type Subject = burn_cubecl::CubeBackend<cubecl::cuda::CudaRuntime, f32, i32, u8>;
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

fn bench(batch: usize, seq: usize, d_inner: usize, ngroups: usize, dtype: DType) {
    let device = Default::default();
    let mut seeded = Seeded::new(1);
    let d_state = 16;
    // One row of random numbers repeated: generating gigabytes on the host takes longer than the runs.
    let mut inner = |low: f32, high: f32| {
        let row = seeded.tensor::<Subject, 3>([1, 64, d_inner], low, high, &device);
        let row = row.repeat(&[batch, seq.div_ceil(64), 1]).narrow(1, 0, seq);
        Tensor::<Tape, 3>::from_inner(row.cast(dtype))
    };
    let u = inner(-1.0, 1.0);
    let dt = inner(-3.0, 1.0);
    let z = inner(-1.0, 1.0);
    let dy = inner(-1.0, 1.0);
    let grouped = [batch, seq, ngroups, d_state];
    let (b, c) = match ngroups * d_state == d_inner {
        true => (inner(-1.0, 1.0), inner(-1.0, 1.0)),
        false => {
            let cut = |x: Tensor<Tape, 3>| x.narrow(2, 0, ngroups * d_state);
            (cut(inner(-1.0, 1.0)), cut(inner(-1.0, 1.0)))
        }
    };
    let mut parameter = |length: usize, low: f32, high: f32| {
        Tensor::<Tape, 1>::from_inner(seeded.tensor([length], low, high, &device))
    };
    let inputs = SelectiveScanInputs {
        u: u.require_grad(),
        dt: dt.require_grad(),
        a: (parameter(d_inner * d_state, -16.0, -1.0).reshape([d_inner, d_state])).require_grad(),
        b: b.reshape(grouped).detach().require_grad(),
        c: c.reshape(grouped).detach().require_grad(),
        d: Some(parameter(d_inner, 0.5, 1.5).require_grad()),
        z: Some(z.require_grad()),
        dt_bias: Some(parameter(d_inner, -4.0, -2.0).require_grad()),
        initial_state: None,
        reset: None,
    };
    let plain = SelectiveScanInputs::<Subject> {
        u: inputs.u.clone().inner(),
        dt: inputs.dt.clone().inner(),
        a: inputs.a.clone().inner(),
        b: inputs.b.clone().inner(),
        c: inputs.c.clone().inner(),
        d: inputs.d.clone().map(Tensor::inner),
        z: inputs.z.clone().map(Tensor::inner),
        dt_bias: inputs.dt_bias.clone().map(Tensor::inner),
        initial_state: None,
        reset: None,
    };
    let forward = best_ms(|| {
        selective_scan(plain.clone(), true).expect("shapes agree");
    });
    // The loss is y . dy: its own two launches over `y` are timed alone and taken off.
    let y = inputs.u.clone().inner();
    let loss = best_ms(|| {
        let y = Tensor::<Tape, 3>::from_inner(y.clone()).require_grad();
        (y * dy.clone()).sum().backward();
    });
    let both = best_ms(|| {
        let output = selective_scan(inputs.clone(), true).expect("shapes agree");
        (output.y * dy.clone()).sum().backward();
    });
    println!(
        "b{batch} l{seq} d{d_inner} g{ngroups} {dtype:?}: forward {forward:.3} ms, both {:.3} ms \
         (loss of {loss:.3} ms taken off)",
        both - loss
    );
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
    if cfg!(not(feature = "cuda")) {
        bench(1, 512, 576, 36, dtype);
        return;
    }
    for (batch, seq, d_inner, ngroups) in [
        (8, 2048, 4096, 256),
        (1, 2048, 4096, 256),
        (8, 2048, 576, 36),
        (8, 2048, 576, 9),
        (1, 2048, 576, 36),
        (1, 16384, 4096, 256),
    ] {
        bench(batch, seq, d_inner, ngroups, dtype);
    }
}
