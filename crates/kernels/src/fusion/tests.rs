use crate::self_test::check_cases;
use crate::testing::state_space::widen;
use crate::testing::subject::Subject;
use crate::testing::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, Seeded, assert_close};
use crate::{CausalConv1dInputs, SsdInputs, SsdOptions, SsmBackend};
use crate::{VisibleKeys, causal_conv1d, gated_rms_norm, masked_softmax, ssd};
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Device, Tensor, activation::tanh};
use burn_fusion::inspect::{FusionInspector, FusionReport};
use burn_fusion::stream::StreamId;
use burn_ir::OperationIr;
use std::collections::HashSet;

const BATCH: usize = 2;
const SEQ: usize = 37;
const HEADS: usize = 3;
const WIDTH: usize = 8;
const STATES: usize = 16;

/// The input of [`mix`].
fn input<B: Backend>(device: &Device<B>) -> Tensor<Autodiff<B>, 3> {
    let sizes = [BATCH, SEQ, HEADS * WIDTH];
    Tensor::from_inner(Seeded::new(7).tensor::<B, 3>(sizes, -1.0, 1.0, device))
}

/// Element-wise operations before, between and after ours, whose intermediate results are dropped: output, last
/// state and the gradient of the input.
fn mix<B: SsmBackend>(x: Tensor<Autodiff<B>, 3>) -> [Vec<f32>; 3] {
    let device = x.device();
    let mut seeded = Seeded::new(8);
    let x = x.require_grad();
    let weight = seeded.tensor::<B, 2>([HEADS * WIDTH, 4], -0.5, 0.5, &device);
    let inputs = CausalConv1dInputs {
        x: (x.clone() * 0.5).exp() - 1.0,
        weight: Tensor::from_inner(weight),
        bias: None,
        initial_window: None,
        reset: None,
    };
    let convolved = causal_conv1d(inputs, true);
    let convolved = convolved.expect("the shapes agree").y;
    let heads = convolved.clone().reshape([BATCH, SEQ, HEADS, WIDTH]);
    let keys = convolved.clone().narrow(2, 0, STATES) + 0.25;
    let keys = keys.reshape([BATCH, SEQ, 1, STATES]);
    let scanned = ssd(
        SsdInputs {
            x: heads,
            dt: tanh(convolved.narrow(2, 0, HEADS)) * 0.5,
            a: Tensor::full([HEADS], -0.5, &device),
            b: keys.clone(),
            c: keys * 2.0,
            d: Some(Tensor::ones([HEADS], &device)),
            z: None,
            dt_bias: None,
            initial_state: None,
            reset: None,
        },
        SsdOptions::default(),
    );
    let scanned = scanned.expect("the shapes agree");
    let y = scanned.y.reshape([BATCH, SEQ, HEADS * WIDTH]) + 0.125;
    let weight = Tensor::ones([HEADS * WIDTH], &device) * 1.5;
    let y = gated_rms_norm(y, x.clone() * 3.0, weight, WIDTH, 1e-5).expect("the shapes agree");
    let scores = y.clone().matmul(y.clone().swap_dims(1, 2)).unsqueeze_dim(1) * 0.5;
    let visible = VisibleKeys {
        seq: SEQ,
        past: 0,
        first: None,
    };
    let seen = masked_softmax(scores, visible, 1.0).expect("the shapes agree");
    let y = seen.squeeze_dim::<3>(1).matmul(y) * x.clone() + 1.0;
    let loss = (y.clone() * y.clone()).sum() + scanned.last_state.clone().sum();
    let gradient = x.grad(&loss.backward()).expect("x is tracked");
    let values = |data: burn::tensor::TensorData| data.to_vec().expect("f32");
    [
        values(y.into_data()),
        values(scanned.last_state.into_data()),
        values(gradient.into_data()),
    ]
}

#[track_caller]
fn assert_mixed(got: &[Vec<f32>; 3]) {
    let expected = mix(input::<burn_flex::Flex>(&Default::default()));
    let tolerances = [F32_TOLERANCE, F32_TOLERANCE, F32_GRADIENT_TOLERANCE];
    for (index, name) in ["y", "last state", "gradient of x"].iter().enumerate() {
        let expected = widen(&expected[index]);
        assert_close(name, &got[index], &expected, tolerances[index]);
    }
}

/// Names of our calls that ran.
fn calls(reports: &[FusionReport]) -> Vec<String> {
    let blocks = reports.iter().flat_map(|report| &report.blocks);
    let name = |operation: &OperationIr| match operation {
        OperationIr::Custom(ir) => Some(ir.id.clone()),
        _ => None,
    };
    let operations = blocks.flat_map(|block| &block.operations);
    operations.filter_map(name).collect()
}

#[test]
fn our_operations_and_fused_neighbours_run_in_one_queue_and_leave_nothing_behind() {
    let device = Default::default();
    let inspector = FusionInspector::install(StreamId::current());
    // The second time the queue follows the plans of the first.
    for _ in 0..2 {
        assert_mixed(&mix(input::<Subject>(&device)));
    }
    Subject::sync(&device).expect("the device answers");

    let reports = inspector.drain();
    let once = [
        "causal_conv1d_forward",
        "ssd_forward",
        "gated_rms_norm_forward",
        "masked_softmax_forward",
        "masked_softmax_backward",
        "gated_rms_norm_backward",
    ];
    let found = calls(&reports);
    for name in once {
        let count = found.iter().filter(|found| *found == name).count();
        assert_eq!(count, 2, "{name} in {found:?}");
    }
    let fused = reports.iter().flat_map(FusionReport::fused_blocks);
    assert!(fused.count() > 6, "neighbours are fused");

    let blocks = reports.iter().flat_map(|report| &report.blocks);
    let operations = blocks.flat_map(|block| &block.operations);
    let made: HashSet<_> = operations
        .flat_map(|operation| operation.outputs().map(|tensor| tensor.id))
        .collect();
    let alive = inspector.last_live_handles().expect("a snapshot");
    let left: Vec<_> = made.intersection(&alive).collect();
    assert!(left.is_empty(), "{} of {} left", left.len(), made.len());
}

#[test]
fn every_case_passes_in_the_queue() {
    let device = Default::default();
    check_cases::<Subject>(&device, &mut |check| check.assert_passed("queued"));
}

#[test]
fn inputs_of_another_thread_are_waited_for() {
    let x = input::<Subject>(&Default::default()) * 1.0;
    let kept = x.clone();
    let mixed = std::thread::spawn(move || mix(x));
    assert_mixed(&mixed.join().expect("no panic"));
    assert_mixed(&mix(kept));
}
