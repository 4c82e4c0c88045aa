use super::self_test::{cases, host};
use super::{
    CacheLengths, CachedAttentionOperands, CachedAttentionProblem, cached_attention, reference,
};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use crate::self_test::CaseCheck;
use crate::testing::subject::Subject;
use burn_flex::Flex;

fn check<B: SsmBackend>() {
    for case in cases() {
        let check = CaseCheck {
            op: "cached_attention",
            case: case.label(),
            tensors: case.check::<B>(),
        };
        check.assert_passed("");
    }
}

#[test]
fn the_cpu_follows_the_equations() {
    check::<Flex>();
}

#[test]
fn the_reference_writes_and_finds_what_the_cpu_does() {
    for case in cases() {
        let (inputs, lens) = (case.inputs(7), case.lens::<Flex>());
        let tensors = || case.tensors(&inputs, &lens);
        let by_cpu = cached_attention(tensors()).unwrap();
        let inputs = tensors();
        let problem = CachedAttentionProblem::validate(&inputs).unwrap();
        let operands = CachedAttentionOperands {
            qkv: unwrap(inputs.qkv),
            angles: unwrap(inputs.angles),
            keys: unwrap(inputs.keys),
            values: unwrap(inputs.values),
            lens: None,
        };
        let [mixed, keys, values] = reference::forward::<Flex>(operands, &problem);
        let label = case.label();
        assert_eq!(host(wrap::<Flex, 3>(mixed)), host(by_cpu.mixed), "{label}");
        assert_eq!(host(wrap::<Flex, 4>(keys)), host(by_cpu.keys), "{label}");
        assert_eq!(
            host(wrap::<Flex, 4>(values)),
            host(by_cpu.values),
            "{label}"
        );
    }
}

#[test]
fn the_implementation_under_test_follows_the_equations() {
    check::<Subject>();
}

#[test]
fn a_cache_that_is_still_held_keeps_its_values() {
    let case = &cases()[5];
    let inputs = case.inputs(7);
    let lens = case.lens::<Subject>();
    let tensors = case.tensors(&inputs, &lens);
    let (keys, values) = (tensors.keys.clone(), tensors.values.clone());
    let before = [host(keys.clone()), host(values.clone())];
    let out = cached_attention(tensors).unwrap();
    assert_eq!([host(keys), host(values)], before);
    assert_ne!(host(out.keys), before[0]);
    assert_ne!(host(out.values), before[1]);
}

#[test]
fn wrong_inputs_are_named() {
    let case = &cases()[1];
    let inputs = case.inputs(7);
    let message = |lens: &CacheLengths<Flex>| {
        let error = cached_attention(case.tensors(&inputs, lens)).unwrap_err();
        error.to_string()
    };
    let lens = |lens: &[usize]| CacheLengths::new(lens.to_vec(), &Default::default());
    assert_eq!(
        message(&lens(&[48])),
        "cached_attention: `keys` is 48, must be at least `past` + `seq` = 48 + 1"
    );
    assert_eq!(
        message(&lens(&[3, 3])),
        "cached_attention: `lens` has shape [2], expected [1] = [batch]"
    );
    let lens = lens(&[3]);
    let mut narrow = case.tensors(&inputs, &lens);
    narrow.qkv = narrow.qkv.narrow(2, 0, 6 * 64);
    let error = cached_attention(narrow).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cached_attention: `n_heads` is 0, must be at least 1"
    );
}
