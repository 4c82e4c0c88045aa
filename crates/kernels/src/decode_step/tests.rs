use super::self_test::{Case, MAMBA1, MAMBA2, cases, host, tensor};
use super::{DecodeState, DecodeStep, DecodeStepWeights, decode_step};
use crate::error::KernelError;
use crate::self_test::{CaseCheck, TensorCheck};
use crate::testing::assert_close;
use crate::testing::subject::Subject;
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

fn assert_passed(case: &Case, tensors: Vec<TensorCheck>) {
    let check = CaseCheck {
        op: "decode_step",
        case: case.label(),
        tensors,
    };
    check.assert_passed("");
}

#[test]
fn the_reference_follows_the_equations() {
    for case in cases() {
        assert_passed(&case, case.check::<Flex>(true));
    }
}

#[test]
fn the_implementation_under_test_follows_the_equations() {
    for case in cases() {
        assert_passed(&case, case.check::<Subject>(false));
    }
}

#[test]
fn under_autodiff_the_gate_gets_its_gradient() {
    type Tape = Autodiff<Flex>;
    let inputs = MAMBA2.inputs(7);
    let dims = [MAMBA2.batch, MAMBA2.row_width()];
    let rows = tensor::<Tape, 2>(&inputs.rows[0], dims).require_grad();
    let (y, _) = decode_step(&MAMBA2.step(&inputs), rows.clone(), MAMBA2.state(&inputs)).unwrap();
    let gradients = y.sum().backward();
    let gradient = host(rows.grad(&gradients).expect("rows are tracked"));
    assert!(gradient.iter().all(|value| value.is_finite()));
    assert!(gradient.iter().any(|value| value.abs() > 0.01));
}

#[test]
fn a_state_that_is_still_held_keeps_its_values() {
    let inputs = MAMBA1.inputs(7);
    let state = MAMBA1.state::<Subject>(&inputs);
    let held = state.clone();
    let rows = tensor(&inputs.rows[0], [MAMBA1.batch, MAMBA1.row_width()]);
    let (_, next) = decode_step(&MAMBA1.step(&inputs), rows, state).unwrap();
    assert_eq!(host(held.ssm_state), inputs.state);
    assert_eq!(host(held.conv_window), inputs.window);
    assert_ne!(host(next.ssm_state), inputs.state);
    assert_ne!(host(next.conv_window), inputs.window);
}

#[test]
fn outputs_have_the_types_of_their_inputs() {
    let mut case = MAMBA2;
    case.batch = 1;
    let inputs = case.inputs(7);
    let (step, state) = (case.step::<Flex>(&inputs), case.state::<Flex>(&inputs));
    let rows = tensor::<Flex, 2>(&inputs.rows[0], [1, case.row_width()]);
    let (exact, _) = decode_step(&step, rows.clone(), state.clone()).unwrap();
    let state = DecodeState {
        conv_window: state.conv_window.cast(DType::BF16),
        ..state
    };
    let (y, state) = decode_step(&step, rows.cast(DType::BF16), state).unwrap();
    assert_eq!(y.dtype(), DType::BF16);
    assert_eq!(state.conv_window.dtype(), DType::BF16);
    assert_eq!(state.ssm_state.dtype(), DType::F32);
    let exact: Vec<f64> = host(exact).into_iter().map(f64::from).collect();
    assert_close("y", &host(y), &exact, 0.05);
}

#[test]
fn extreme_steps_stay_finite() {
    let mut inputs = MAMBA1.inputs(7);
    for (index, value) in inputs.weights[3].iter_mut().enumerate() {
        *value = if index % 2 == 0 { 80.0 } else { -80.0 };
    }
    inputs.weights[4].fill(-1e4);
    let outcome = MAMBA1.run::<Subject>(&inputs, false);
    for values in outcome.y.iter().chain([&outcome.state]) {
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn wrong_shapes_are_named() {
    let inputs = MAMBA2.inputs(7);
    let step = MAMBA2.step::<Flex>(&inputs);
    let rows = tensor(&inputs.rows[0], [1, MAMBA2.batch * MAMBA2.row_width()]);
    let error = decode_step(&step, rows, MAMBA2.state(&inputs)).unwrap_err();
    assert!(matches!(error, KernelError::Shape { input: "rows", .. }));

    let mut one = MAMBA2;
    one.batch = 1;
    let rows = tensor(&inputs.rows[0], [2, MAMBA2.row_width()]);
    let mut short = one.inputs(7);
    short.rows.clear();
    let error = decode_step(&step, rows, one.state(&short)).unwrap_err();
    let expected = "decode_step: `conv_window` has shape [1, 3, 256], expected [2, 3, 256] = \
                    [batch, d_conv - 1, conv_channels]";
    assert_eq!(error.to_string(), expected);

    let rows = Tensor::<Flex, 2>::zeros([0, MAMBA2.row_width()], &Default::default());
    let error = decode_step(&step, rows, MAMBA2.state(&inputs)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "decode_step: `batch` is 0, must be at least 1"
    );
}

#[test]
fn a_width_that_does_not_divide_is_named() {
    let weights = |nheads: usize, channels: usize| DecodeStepWeights::<Flex> {
        conv_weight: Tensor::zeros([channels, 4], &Default::default()),
        conv_bias: None,
        dt_weight: None,
        dt_bias: None,
        a: Tensor::zeros([nheads, 1], &Default::default()),
        d: None,
        norm_weight: None,
    };
    let mut shape = MAMBA2.shape;
    shape.x_width = 48;
    let error = DecodeStep::new(shape, weights(4, 256)).unwrap_err();
    let expected = "decode_step: `d_inner` is 128, must be a multiple of `x_width` = 48";
    assert_eq!(error.to_string(), expected);

    let error = DecodeStep::new(MAMBA2.shape, weights(4, 255)).unwrap_err();
    assert!(matches!(
        error,
        KernelError::Shape {
            input: "conv_weight",
            ..
        }
    ));
}
