use super::argmax;
use super::self_test::cases;
use crate::backend::SsmBackend;
use crate::self_test::CaseCheck;
use crate::testing::subject::Subject;
use burn::tensor::Tensor;
use burn_flex::Flex;

fn check<B: SsmBackend>() {
    for case in cases() {
        let check = CaseCheck {
            op: "argmax",
            case: case.label(),
            tensors: case.check::<B>(),
        };
        check.assert_passed("");
    }
}

#[test]
fn the_reference_finds_the_first_of_the_largest() {
    check::<Flex>();
}

#[test]
fn the_implementation_under_test_finds_the_first_of_the_largest() {
    check::<Subject>();
}

#[test]
fn an_empty_row_is_named() {
    let logits = Tensor::<Flex, 2>::zeros([2, 0], &Default::default());
    let error = argmax(logits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "argmax: `vocab` is 0, must be at least 1"
    );
}
