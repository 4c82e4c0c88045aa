use super::self_test::{cases, is_supported};
use super::{FusedLinearInputs, FusedOutput, fused_linear};
use crate::backend::SsmBackend;
use crate::self_test::CaseCheck;
use crate::testing::subject::Subject;
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

fn check<B: SsmBackend>() {
    for case in cases().iter().filter(|case| is_supported::<B>(case)) {
        let check = CaseCheck {
            op: "fused_linear",
            case: case.label(),
            tensors: case.check::<B>(),
        };
        check.assert_passed("");
    }
}

#[test]
fn the_reference_follows_the_equations() {
    check::<Flex>();
}

#[test]
fn the_implementation_under_test_follows_the_equations() {
    check::<Subject>();
}

fn ones<B: SsmBackend>(d_input: usize, weights: &[[usize; 2]]) -> FusedLinearInputs<B> {
    let device = Default::default();
    FusedLinearInputs {
        x: Tensor::ones([1, 2, d_input], &device),
        norm: None,
        weights: (weights.iter())
            .map(|shape| Tensor::ones(*shape, &device))
            .collect(),
        output: FusedOutput::SideBySide,
    }
}

#[test]
fn under_autodiff_weights_get_their_gradient() {
    type Tape = Autodiff<Flex>;
    let mut inputs = ones::<Tape>(3, &[[3, 2], [3, 2]]);
    inputs.output = FusedOutput::Gated;
    let weight = inputs.weights[1].clone().require_grad();
    inputs.weights[1] = weight.clone();
    let gradients = fused_linear(inputs).unwrap().sum().backward();
    let gradient = weight.grad(&gradients).expect("weights are tracked");
    // silu(3) for each of the two rows.
    let expected = 2.0 * 3.0 / (1.0 + (-3f32).exp());
    for value in gradient.into_data().iter::<f32>() {
        assert!((value - expected).abs() < 1e-5, "{value} for {expected}");
    }
}

#[test]
fn results_have_the_type_of_x() {
    let mut inputs = ones::<Flex>(3, &[[3, 2]]);
    inputs.x = inputs.x.cast(DType::BF16);
    let out = fused_linear(inputs).unwrap();
    assert_eq!(out.dtype(), DType::BF16);
    assert_eq!(out.into_data().iter::<f32>().collect::<Vec<_>>(), [3.0; 4]);
}

#[test]
fn wrong_inputs_are_named() {
    let message = |inputs| fused_linear::<Flex>(inputs).unwrap_err().to_string();
    assert_eq!(
        message(ones(3, &[])),
        "fused_linear: 0 weights, expected 1 to 3"
    );
    assert_eq!(
        message(ones(3, &[[3, 2], [2, 3]])),
        "fused_linear: `weight` has shape [2, 3], expected [3, 3] = [d_input, d_output]"
    );
    let mut gated = ones(3, &[[3, 2], [3, 4]]);
    gated.output = FusedOutput::Gated;
    assert_eq!(
        message(gated),
        "fused_linear: `weight` has shape [3, 4], expected [3, 2] = [d_input, d_output]"
    );
    let mut added = ones(3, &[[3, 2]]);
    added.output = FusedOutput::Added(added.x.clone());
    assert_eq!(
        message(added),
        "fused_linear: `residual` has shape [1, 2, 3], expected [1, 2, 2] = [batch, seq, d_output]"
    );
    let mut normed = ones(3, &[[3, 2]]);
    normed.norm = Some((Tensor::ones([2], &Default::default()), 1e-5));
    assert_eq!(
        message(normed),
        "fused_linear: `norm` has shape [2], expected [3] = [d_input]"
    );
}
