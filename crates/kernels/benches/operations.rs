//! Forward and backward times of every operation on the CPU, against the tape of its reference and, where there is a
//! recurrence, against plain loops over it on as many cores.
//!
//! `cargo bench -p kernels` prints one line for each operation and size; `-- quick` leaves out the
//! tapes of the references, which are slow.
#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

#[path = "operations/plain.rs"]
mod plain;

use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::Flex;
use kernels::testing::Seeded;
use kernels::{
    CausalConv1dInputs, SelectiveScanInputs, SsdInputs, SsdOptions, VisibleKeys, causal_conv1d,
    gated_rms_norm, masked_softmax, selective_scan, ssd,
};
use std::time::Instant;

type Tape = Autodiff<Flex>;

/// Least milliseconds of a run, after one to warm up: other work on the machine only adds.
fn best_ms(repeats: usize, mut run: impl FnMut()) -> f64 {
    run();
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min)
}

/// Milliseconds of one run of the reference on the tape, if it is wanted.
fn tape_ms(wanted: bool, mut run: impl FnMut()) -> Option<f64> {
    wanted.then(|| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    })
}

/// Tensors that require gradients, all seeded.
struct Inputs {
    seeded: Seeded,
}

impl Inputs {
    fn leaf<B: AutodiffBackend, const D: usize>(
        &mut self,
        dims: [usize; D],
        low: f32,
        high: f32,
    ) -> Tensor<B, D> {
        self.seeded
            .tensor(dims, low, high, &Default::default())
            .require_grad()
    }
}

fn backward<const D: usize>(y: Tensor<Tape, D>) {
    let gradients = y.sum().backward();
    std::hint::black_box(&gradients);
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn tensor<const D: usize>(
    primitive: <Tape as burn::tensor::backend::BackendTypes>::FloatTensorPrimitive,
) -> Tensor<Tape, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn report(name: &str, forward: f64, both: f64, tape: Option<f64>, plain: Option<f64>) {
    let tape = match tape {
        Some(tape) => format!("tape {tape:10.2} ms, {:6.1}x", tape / both),
        None => String::new(),
    };
    let plain = match plain {
        Some(plain) => format!("plain {plain:8.2} ms, {:5.2}x", plain / both),
        None => String::new(),
    };
    println!("{name:<44} {forward:8.2} ms {both:8.2} ms   {plain:<26} {tape}");
}

fn scan_inputs(sizes: [usize; 5]) -> SelectiveScanInputs<Tape> {
    let [batch, seq, d_inner, d_state, ngroups] = sizes;
    let mut inputs = Inputs {
        seeded: Seeded::new(1),
    };
    SelectiveScanInputs {
        u: inputs.leaf([batch, seq, d_inner], -1.0, 1.0),
        dt: inputs.leaf([batch, seq, d_inner], -4.0, 0.0),
        a: inputs.leaf([d_inner, d_state], -16.0, -1.0),
        b: inputs.leaf([batch, seq, ngroups, d_state], -1.0, 1.0),
        c: inputs.leaf([batch, seq, ngroups, d_state], -1.0, 1.0),
        d: Some(inputs.leaf([d_inner], -1.0, 1.0)),
        z: Some(inputs.leaf([batch, seq, d_inner], -1.0, 1.0)),
        dt_bias: Some(inputs.leaf([d_inner], -1.0, 1.0)),
        initial_state: None,
        reset: None,
    }
}

fn bench_scan(sizes: [usize; 5], with_tape: bool) {
    let [batch, seq, d_inner, d_state, ngroups] = sizes;
    let inputs = scan_inputs(sizes);
    let run = |inputs| {
        selective_scan::<Tape>(inputs, true)
            .expect("shapes agree")
            .y
    };
    let forward = best_ms(15, || drop(run(inputs.clone())));
    let both = best_ms(15, || backward(run(inputs.clone())));
    let problem = kernels::selective_scan::SelectiveScanProblem {
        batch,
        seq,
        d_inner,
        d_state,
        ngroups,
        has_d: true,
        has_z: true,
        has_dt_bias: true,
        has_initial_state: false,
        dt_softplus: true,
    };
    let reference = || {
        let inputs = inputs.clone();
        let operands = [
            primitive(inputs.u.clone()),
            primitive(inputs.dt),
            primitive(inputs.a),
            primitive(inputs.b),
            primitive(inputs.c),
            primitive(inputs.d.expect("given")),
            primitive(inputs.z.expect("given")),
            primitive(inputs.dt_bias.expect("given")),
            primitive(inputs.u),
        ];
        let output = kernels::selective_scan::reference::forward::<Tape>(operands, None, &problem);
        tensor::<3>(output.y)
    };
    let tape = tape_ms(with_tape, || backward(reference()));
    report(
        &format!("selective_scan b{batch} l{seq} d{d_inner} n{d_state} g{ngroups}"),
        forward,
        both,
        tape,
        Some(best_ms(15, || plain::scan(sizes))),
    );
}

fn bench_ssd(sizes: [usize; 5], with_tape: bool) {
    let [batch, seq, nheads, headdim, d_state] = sizes;
    let mut inputs = Inputs {
        seeded: Seeded::new(1),
    };
    let inputs = SsdInputs::<Tape> {
        x: inputs.leaf([batch, seq, nheads, headdim], -1.0, 1.0),
        dt: inputs.leaf([batch, seq, nheads], -4.0, 0.0),
        a: inputs.leaf([nheads], -16.0, -1.0),
        b: inputs.leaf([batch, seq, nheads, d_state], -1.0, 1.0),
        c: inputs.leaf([batch, seq, nheads, d_state], -1.0, 1.0),
        d: Some(inputs.leaf([nheads], -1.0, 1.0)),
        z: None,
        dt_bias: Some(inputs.leaf([nheads], -1.0, 1.0)),
        initial_state: None,
        reset: None,
    };
    let options = SsdOptions::default();
    let run = |inputs| ssd::<Tape>(inputs, options).expect("shapes agree").y;
    let forward = best_ms(15, || drop(run(inputs.clone())));
    let both = best_ms(15, || backward(run(inputs.clone())));
    let problem = kernels::ssd::SsdProblem {
        batch,
        seq,
        nheads,
        headdim,
        ngroups: nheads,
        d_state,
        chunk_size: options.chunk_size,
        has_d: true,
        has_z: false,
        has_dt_bias: true,
        has_initial_state: false,
        dt_softplus: true,
    };
    let tape = tape_ms(with_tape, || {
        let inputs = inputs.clone();
        let x = primitive(inputs.x);
        let operands = [
            x.clone(),
            primitive(inputs.dt),
            primitive(inputs.a),
            primitive(inputs.b),
            primitive(inputs.c),
            primitive(inputs.d.expect("given")),
            x.clone(),
            primitive(inputs.dt_bias.expect("given")),
            x,
        ];
        backward(tensor::<4>(
            kernels::ssd::reference::forward::<Tape>(operands, None, &problem).y,
        ));
    });
    let name = format!("ssd b{batch} l{seq} h{nheads} p{headdim} n{d_state}");
    let plain = best_ms(5, || plain::ssd(sizes));
    report(&name, forward, both, tape, Some(plain));
}

fn bench_conv(sizes: [usize; 3], with_tape: bool) {
    let [batch, seq, channels] = sizes;
    let mut inputs = Inputs {
        seeded: Seeded::new(1),
    };
    let inputs = CausalConv1dInputs::<Tape> {
        x: inputs.leaf([batch, seq, channels], -1.0, 1.0),
        weight: inputs.leaf([channels, 4], -1.0, 1.0),
        bias: Some(inputs.leaf([channels], -1.0, 1.0)),
        initial_window: None,
        reset: None,
    };
    let run = |inputs| causal_conv1d::<Tape>(inputs, true).expect("shapes agree").y;
    let forward = best_ms(15, || drop(run(inputs.clone())));
    let both = best_ms(15, || backward(run(inputs.clone())));
    let problem = kernels::causal_conv1d::CausalConv1dProblem {
        batch,
        seq,
        channels,
        width: 4,
        has_bias: true,
        has_initial_window: false,
        silu: true,
    };
    let tape = tape_ms(with_tape, || {
        let inputs = inputs.clone();
        let x = primitive(inputs.x);
        let operands = [
            x.clone(),
            primitive(inputs.weight),
            primitive(inputs.bias.expect("given")),
            x,
        ];
        backward(tensor::<3>(kernels::causal_conv1d::reference::forward::<
            Tape,
        >(operands, None, &problem)));
    });
    report(
        &format!("causal_conv1d b{batch} l{seq} c{channels}"),
        forward,
        both,
        tape,
        None,
    );
}

fn bench_norm(sizes: [usize; 4], with_tape: bool) {
    let [batch, seq, channels, group_size] = sizes;
    let mut inputs = Inputs {
        seeded: Seeded::new(1),
    };
    let y: Tensor<Tape, 3> = inputs.leaf([batch, seq, channels], -1.0, 1.0);
    let z: Tensor<Tape, 3> = inputs.leaf([batch, seq, channels], -1.0, 1.0);
    let weight: Tensor<Tape, 1> = inputs.leaf([channels], -1.0, 1.0);
    let run = || {
        gated_rms_norm(y.clone(), z.clone(), weight.clone(), group_size, 1e-5)
            .expect("shapes agree")
    };
    let forward = best_ms(15, || drop(run()));
    let both = best_ms(15, || backward(run()));
    let problem = kernels::gated_rms_norm::GatedRmsNormProblem {
        batch,
        seq,
        channels,
        group_size,
        eps: 1e-5,
    };
    let tape = tape_ms(with_tape, || {
        let operands = [
            primitive(y.clone()),
            primitive(z.clone()),
            primitive(weight.clone()),
        ];
        backward(tensor::<3>(kernels::gated_rms_norm::reference::forward::<
            Tape,
        >(operands, &problem)));
    });
    let name = format!("gated_rms_norm b{batch} l{seq} c{channels} g{group_size}");
    report(&name, forward, both, tape, None);
}

fn bench_softmax(sizes: [usize; 4], with_tape: bool) {
    let [batch, heads, stack, seq] = sizes;
    let mut inputs = Inputs {
        seeded: Seeded::new(1),
    };
    let rows = stack * seq;
    let scores: Tensor<Tape, 4> = inputs.leaf([batch, heads, rows, seq], -4.0, 4.0);
    let visible = VisibleKeys {
        seq,
        past: 0,
        first: None,
    };
    let run = || masked_softmax(scores.clone(), visible.clone(), 0.125).expect("shapes agree");
    let forward = best_ms(15, || drop(run()));
    let both = best_ms(15, || backward(run()));
    let problem = kernels::masked_softmax::MaskedSoftmaxProblem {
        batch,
        heads,
        rows,
        keys: seq,
        seq,
        past: 0,
        scale: 0.125,
    };
    let tape = tape_ms(with_tape, || {
        let scores = primitive(scores.clone());
        backward(tensor::<4>(kernels::masked_softmax::reference::forward::<
            Tape,
        >(scores, None, &problem)));
    });
    let name = format!("masked_softmax b{batch} h{heads} of {stack} l{seq}");
    report(&name, forward, both, tape, None);
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    println!("{:<44} {:>11} {:>11}", "", "forward", "and back");
    bench_scan([8, 256, 128, 16, 8], !quick);
    bench_scan([8, 256, 576, 16, 36], !quick);
    bench_scan([4, 512, 128, 16, 8], !quick);
    bench_scan([4, 512, 576, 16, 36], !quick);
    bench_ssd([8, 256, 4, 32, 32], !quick);
    bench_ssd([8, 256, 9, 64, 64], !quick);
    bench_ssd([4, 512, 9, 64, 64], !quick);
    bench_ssd([4, 1024, 4, 32, 32], !quick);
    bench_conv([8, 256, 128], !quick);
    bench_conv([8, 256, 576], !quick);
    bench_norm([8, 256, 128, 32], !quick);
    bench_norm([8, 256, 576, 64], !quick);
    bench_softmax([8, 2, 2, 256], !quick);
    bench_softmax([4, 3, 3, 512], !quick);
}
