use super::self_test::{cases, is_supported};
use super::{WeighDraftsInputs, weigh_drafts};
use crate::backend::SsmBackend;
use crate::self_test::CaseCheck;
use crate::testing::subject::Subject;
use burn::tensor::Tensor;
use burn_flex::Flex;

fn check<B: SsmBackend>() {
    for case in cases().iter().filter(|case| is_supported::<B>(case)) {
        let check = CaseCheck {
            op: "weigh_drafts",
            case: case.label(),
            tensors: case.check::<B>(),
        };
        check.assert_passed("");
    }
}

#[test]
fn the_reference_weighs_drafts_and_draws_what_is_left() {
    check::<Flex>();
}

#[test]
fn the_implementation_under_test_weighs_drafts_and_draws_what_is_left() {
    check::<Subject>();
}

#[test]
fn logits_of_another_number_of_drafts_are_named() {
    let device = Default::default();
    let inputs = WeighDraftsInputs::<Flex> {
        verified: Tensor::zeros([1, 4, 7], &device),
        drafted: Some(Tensor::zeros([1, 2, 7], &device)),
        drafts: Tensor::zeros([1, 3], &device),
        counts: None,
        uniform: Tensor::ones([1, 4, 7], &device),
        temperature: 1.0,
    };
    let error = weigh_drafts(inputs).unwrap_err();
    assert_eq!(
        error.to_string(),
        "weigh_drafts: `drafted` has shape [1, 2, 7], expected [1, 3, 7] = [batch, drafts, vocab]"
    );
}
