//! Time of one decode step of a layer, everything between its projections.
//!
//! `cargo bench -p kernels --bench decode_step` runs on the CPU; with the feature `cuda` or `wgpu`
//! it runs on that backend, in bf16 if the argument `bf16` is given. The steps of a run follow each
//! other without a pause and are waited for once.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use burn::tensor::{DType, Tensor, backend::Backend};
use kernels::testing::Seeded;
use kernels::{DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, decode_step};
use std::time::Instant;

#[cfg(feature = "cuda")]
type Subject = burn::backend::Cuda;
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
type Subject = burn::backend::Wgpu;
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
type Subject = burn_flex::Flex;

const STEPS: usize = 200;
const ROUNDS: usize = 5;

/// Heads of `width` channels, `kv_heads` of them for x and b.
struct Heads {
    heads: usize,
    kv_heads: usize,
    width: usize,
}

fn mamba1(size: &Heads, seeded: &mut Seeded) -> DecodeStep<Subject> {
    let device = Default::default();
    let (d_inner, d_xb) = (size.heads * size.width, size.kv_heads * size.width);
    let dt_rank = d_inner / 16;
    let shape = DecodeStepShape {
        headdim: 1,
        d_state: 16,
        x_width: d_xb,
        b_width: d_xb,
        c_width: d_inner,
        repeat_width: 16,
        repeat_before_conv: true,
        conv_covers_bc: false,
        has_z: true,
        eps: 0.0,
    };
    let weights = DecodeStepWeights {
        conv_weight: seeded.tensor([d_inner, 4], -0.5, 0.5, &device),
        conv_bias: Some(seeded.tensor([d_inner], -0.5, 0.5, &device)),
        dt_weight: Some(seeded.tensor([dt_rank, d_inner], -0.1, 0.1, &device)),
        dt_bias: Some(seeded.tensor([d_inner], -6.0, -2.0, &device)),
        a: seeded.tensor([d_inner, 16], -16.0, -1.0, &device),
        d: Some(seeded.tensor([d_inner], 0.5, 1.5, &device)),
        norm_weight: None,
    };
    DecodeStep::new(shape, weights).expect("shapes agree")
}

fn mamba2(size: &Heads, seeded: &mut Seeded) -> DecodeStep<Subject> {
    let device = Default::default();
    let (d_inner, d_xb) = (size.heads * size.width, size.kv_heads * size.width);
    let channels = d_inner + 2 * d_xb;
    let shape = DecodeStepShape {
        headdim: size.width,
        d_state: size.width,
        x_width: d_xb,
        b_width: d_xb,
        c_width: d_inner,
        repeat_width: size.width,
        repeat_before_conv: false,
        conv_covers_bc: true,
        has_z: true,
        eps: 1e-5,
    };
    let weights = DecodeStepWeights {
        conv_weight: seeded.tensor([channels, 4], -0.5, 0.5, &device),
        conv_bias: Some(seeded.tensor([channels], -0.5, 0.5, &device)),
        dt_weight: None,
        dt_bias: Some(seeded.tensor([size.heads], -6.0, -2.0, &device)),
        a: seeded.tensor([size.heads, 1], -16.0, -1.0, &device),
        d: Some(seeded.tensor([size.heads], 0.5, 1.5, &device)),
        norm_weight: Some(seeded.tensor([d_inner], 0.5, 1.5, &device)),
    };
    DecodeStep::new(shape, weights).expect("shapes agree")
}

fn bench(name: &str, step: &DecodeStep<Subject>, batch: usize, dtype: DType) {
    let device = Default::default();
    let mut seeded = Seeded::new(1);
    let p = step.sizes();
    let rows = seeded.tensor::<Subject, 2>([batch, p.row_width()], -1.0, 1.0, &device);
    let rows = rows.cast(dtype);
    let window = [batch, p.d_conv - 1, p.conv_channels()];
    let state = [batch, p.d_inner(), p.shape.d_state];
    let mut state = DecodeState {
        conv_window: Tensor::<Subject, 3>::zeros(window, &device).cast(dtype),
        ssm_state: Tensor::zeros(state, &device),
    };
    let bytes = 2 * 4 * batch * p.d_inner() * p.shape.d_state;
    let mut best = f64::INFINITY;
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let mut last = None;
        for _ in 0..STEPS {
            let (y, next) = decode_step(step, rows.clone(), state).expect("shapes agree");
            state = next;
            last = Some(y);
        }
        Subject::sync(&device).expect("the device answers");
        drop(last);
        // The first round compiles.
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64() / STEPS as f64);
        }
    }
    let gigabytes_per_s = bytes as f64 / best * 1e-9;
    println!(
        "{name:<28} b{batch:<4} {:9.2} us  state {gigabytes_per_s:7.1} GB/s",
        best * 1e6
    );
}

fn main() {
    let dtype = match std::env::args().any(|argument| argument == "bf16") {
        true => DType::BF16,
        false => DType::F32,
    };
    let sizes = [("tiny", 4, 2, 32), ("135m", 9, 3, 64), ("8b", 32, 8, 128)];
    for (name, heads, kv_heads, width) in sizes {
        let size = Heads {
            heads,
            kv_heads,
            width,
        };
        let mut seeded = Seeded::new(2);
        let (first, second) = (mamba1(&size, &mut seeded), mamba2(&size, &mut seeded));
        for batch in [1, 8, 64] {
            bench(&format!("mamba1 {name}"), &first, batch, dtype);
            bench(&format!("mamba2 {name}"), &second, batch, dtype);
        }
    }
}
