use super::self_test::{cases, is_supported};
use super::*;
use crate::self_test::CaseCheck;
use crate::testing::subject::Subject;
use burn::backend::Autodiff;
use burn::tensor::Distribution;
use burn_flex::Flex;

fn floats(tensor: Tensor<Subject, 3>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn check<B: SsmBackend>() {
    for case in cases().iter().filter(|case| is_supported::<B>(case)) {
        let check = CaseCheck {
            op: "product",
            case: case.label(),
            tensors: case.check::<B>(),
        };
        check.assert_passed("");
    }
}

#[test]
fn the_default_agrees_with_the_f64_definition() {
    check::<Flex>();
}

#[test]
fn the_implementation_under_test_agrees_with_the_f64_definition() {
    check::<Subject>();
}

/// The gradients of both sides are those of burn's own node, and a side that is not on the tape gets none.
#[test]
fn gradients_are_those_of_burns_product() {
    type Tape = Autodiff<Subject>;
    let device = Default::default();
    let random = |dims: [usize; 3]| {
        Tensor::<Subject, 3>::random(dims, Distribution::Uniform(-1.0, 1.0), &device)
    };
    let (lhs, rhs, weights) = (random([2, 5, 7]), random([2, 7, 4]), random([2, 5, 4]));
    for [lhs_tracked, rhs_tracked] in [[true, true], [true, false], [false, true]] {
        let run = |is_ours: bool| {
            let leaf = |tensor: &Tensor<Subject, 3>, tracked: bool| {
                let leaf = Tensor::<Tape, 3>::from_inner(tensor.clone());
                if tracked { leaf.require_grad() } else { leaf }
            };
            let (lhs, rhs) = (leaf(&lhs, lhs_tracked), leaf(&rhs, rhs_tracked));
            let out = match is_ours {
                true => product(lhs.clone(), rhs.clone()).expect("the shapes agree"),
                false => lhs.clone().matmul(rhs.clone()),
            };
            let loss = out * Tensor::from_inner(weights.clone());
            let gradients = loss.sum().backward();
            [lhs.grad(&gradients), rhs.grad(&gradients)].map(|gradient| gradient.map(floats))
        };
        let (ours, burns) = (run(true), run(false));
        assert_eq!(
            ours.each_ref().map(Option::is_some),
            [lhs_tracked, rhs_tracked]
        );
        for (ours, burns) in ours.into_iter().flatten().zip(burns.into_iter().flatten()) {
            for (a, b) in ours.iter().zip(&burns) {
                assert!((a - b).abs() <= 1e-5, "{a} instead of {b}");
            }
        }
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |lhs: [usize; 3], rhs: [usize; 3]| {
        let lhs = Tensor::<Flex, 3>::zeros(lhs, &device);
        product(lhs, Tensor::zeros(rhs, &device)).expect_err("inputs are wrong")
    };
    assert_eq!(
        run([2, 3, 6], [2, 5, 4]).to_string(),
        "product: `rhs` has shape [2, 5, 4], expected [2, 6, 4] = [.., inner, columns]"
    );
    let shape = run([2, 3, 6], [1, 6, 4]);
    assert!(matches!(shape, KernelError::Shape { .. }), "{shape}");
    let empty = run([2, 0, 6], [2, 6, 4]);
    assert!(
        matches!(empty, KernelError::Empty { size: "rows", .. }),
        "{empty}"
    );
}
