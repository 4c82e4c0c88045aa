mod half_precision;

use super::self_test::{self, cases, plain, problem};
use super::{SsdInputs, SsdOptions, SsdProblem, reference, ssd};
use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::error::KernelError;
use crate::self_test::compare::compare;
use crate::self_test::state_space::{Operation, extreme};
use crate::testing::golden;
use crate::testing::laws::{check_packed, check_split};
use crate::testing::state_space::{Case, PATHS, Path, Reference, assert_outcomes_close};
use crate::testing::subject::Subject;
use burn::tensor::{Tensor, TensorMetadata, backend::Backend, ops::FloatTensor};
use burn_flex::Flex;

impl Reference for SsdProblem {
    fn with(&self, batch: usize, seq: usize, has_initial_state: bool) -> Self {
        Self {
            batch,
            seq,
            has_initial_state,
            ..*self
        }
    }

    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B> {
        reference::forward::<B>(operands, reset, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> [FloatTensor<B>; 9] {
        reference::backward::<B>(operands, reset, gradients, self)
    }
}

#[test]
fn golden_values_are_reproduced() {
    let file = golden::load("kernel_ssd");
    for golden in self_test::golden(&file).expect("the fixture") {
        for path in PATHS {
            golden.case.check_against(path, &golden.expected);
        }
    }
}

/// On the CPU: kernels on GPUs take the gradient of a decay as a difference of sums, of which nothing is left here.
#[test]
fn decays_that_leave_nothing_have_no_gradient_on_the_cpu() {
    let case = extreme(Case::seeded(problem([2, 65, 4, 16, 2, 8, 32]), 4));
    let tensors = compare(&case.run_public::<Flex>().named(), &case.expected());
    for tensor in tensors {
        assert!(tensor.has_passed(), "{tensor:?}");
    }
}

/// The gradient of a decay is a difference of large sums: the CPU takes it in f64.
#[test]
fn the_cpu_keeps_the_fifth_digit_of_every_result() {
    for case in cases() {
        for tensor in compare(&case.run_public::<Flex>().named(), &case.expected()) {
            assert!(tensor.error < 1e-5, "{}: {tensor:?}", case.problem.label());
        }
    }
}

#[test]
fn every_path_agrees_with_the_f64_recurrence() {
    for path in PATHS {
        for sizes in [
            [1, 1, 3, 4, 1, 2, 8],
            [3, 3, 2, 5, 2, 3, 2],
            [1, 9, 9, 2, 3, 4, 4],
            [1, 37, 9, 8, 9, 8, 16],
        ] {
            Case::seeded(problem(sizes), 1).check(path);
            Case::seeded(plain(problem(sizes)), 2).check(path);
        }
        let case = Case::seeded(problem([2, 12, 4, 4, 2, 4, 5]), 3);
        case.with_documents(&[3, 5, 6, 10]).check(path);
    }
}

#[test]
fn public_path_agrees_with_the_f64_recurrence_off_the_grid() {
    for case in cases() {
        case.check(Path::Public);
    }
}

#[test]
fn heads_and_states_may_be_wider_than_a_tile() {
    for (seq, chunk_size) in [(130, 64), (333, 256)] {
        for [nheads, headdim, ngroups, d_state] in [[4, 96, 2, 68], [3, 65, 1, 130]] {
            let problem = problem([1, seq, nheads, headdim, ngroups, d_state, chunk_size]);
            let case = Case::seeded(problem, 9);
            for case in [case.clone(), case.with_documents(&[0, 70, 128, 129])] {
                // The reference loses digits in long chunks.
                let mut short = case.clone();
                short.problem.chunk_size = 16;
                let expected = short.run(Path::Reference);
                assert_outcomes_close(&format!("{problem:?}"), &case.run(Path::Public), &expected);
            }
        }
    }
}

#[test]
fn chunk_size_does_not_change_the_result() {
    for path in [Path::Reference, Path::Public] {
        let run =
            |chunk_size| Case::seeded(problem([2, 70, 3, 16, 3, 16, chunk_size]), 7).run(path);
        let expected = run(70);
        for chunk_size in [1, 16, 64, 1024] {
            let name = format!("{path:?} chunks of {chunk_size}");
            assert_outcomes_close(&name, &run(chunk_size), &expected);
        }
    }
}

#[test]
fn saved_states_have_the_shape_that_is_named_beforehand() {
    for case in cases() {
        let (operands, reset) = (
            case.primitives::<Subject>(),
            case.reset_primitive::<Subject>(),
        );
        let named = Subject::ssd_saved(operands[0].dtype(), &case.problem);
        let saved = Subject::ssd_forward(operands, reset, &case.problem, true).saved;
        let saved = saved.map(|saved| saved.shape());
        assert_eq!(saved, named, "{:?}", case.problem);
    }
}

#[test]
fn split_with_carried_state_equals_whole() {
    for path in [Path::Reference, Path::Public] {
        for at in [1, 40, 69] {
            let problem = problem([2, 70, 3, 16, 3, 8, 32]);
            check_split(&Case::seeded(problem, 5), at, path);
            check_split(&Case::seeded(plain(problem), 5), at, path);
        }
    }
}

#[test]
fn packed_row_equals_documents_alone() {
    for path in PATHS {
        let case = Case::seeded(problem([2, 70, 3, 16, 3, 8, 32]), 6);
        check_packed(&case, &[5, 6, 32, 64], path);
        check_packed(&case, &[0, 69], path);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let device = Default::default();
    let inputs = |seq: usize, ngroups: usize| SsdInputs::<Subject> {
        x: Tensor::zeros([2, seq, 6, 4], &device),
        dt: Tensor::zeros([2, seq, 6], &device),
        a: Tensor::zeros([6], &device),
        b: Tensor::zeros([2, seq, ngroups, 8], &device),
        c: Tensor::zeros([2, seq, ngroups, 8], &device),
        d: None,
        z: None,
        dt_bias: None,
        initial_state: None,
        reset: None,
    };
    let options = SsdOptions::default();
    assert!(ssd(inputs(5, 3), options).is_ok());
    let error = |inputs| ssd(inputs, options).expect_err("inputs are wrong");
    assert_eq!(
        error(inputs(0, 3)),
        KernelError::Empty {
            op: "ssd",
            size: "seq"
        }
    );
    assert_eq!(
        error(inputs(5, 4)).to_string(),
        "ssd: `nheads` is 6, must be a multiple of `ngroups` = 4"
    );
    let c = SsdInputs {
        c: Tensor::zeros([2, 5, 3, 7], &device),
        ..inputs(5, 3)
    };
    assert!(matches!(error(c), KernelError::Shape { input: "c", .. }));
    let state = Some(Tensor::zeros([2, 6, 8, 4], &device));
    let state = SsdInputs {
        initial_state: state,
        ..inputs(5, 3)
    };
    assert!(matches!(
        error(state),
        KernelError::Shape {
            input: "initial_state",
            ..
        }
    ));
    let none = ssd(
        inputs(5, 3),
        SsdOptions {
            chunk_size: 0,
            ..options
        },
    )
    .expect_err("no chunk");
    assert_eq!(
        none,
        KernelError::Empty {
            op: "ssd",
            size: "chunk_size"
        }
    );
}
