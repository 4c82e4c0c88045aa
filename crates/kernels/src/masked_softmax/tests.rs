use super::self_test::{documents, problem};
use super::{MaskedSoftmaxProblem, VisibleKeys, masked_softmax, reference, self_test};
use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::testing::assert_close;
use crate::testing::single_output::{Case, Operation, Outcome, Reference};
use crate::testing::state_space::PATHS;
use crate::testing::subject::{Subject, download, upload};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, Tensor, bf16, f16};

impl Reference<1> for MaskedSoftmaxProblem {
    fn reference_forward<B: Backend>(
        &self,
        [scores]: [FloatTensor<B>; 1],
        first: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(scores, first, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        [scores]: [FloatTensor<B>; 1],
        first: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 1] {
        let weights = reference::forward::<B>(scores, first, self);
        [reference::backward::<B>(weights, gradient, self)]
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

#[test]
fn hidden_keys_have_no_weight_and_no_gradient() {
    for case in self_test::cases() {
        // Scores of hidden keys may be anything: in a cache they are of what was there before.
        let p = case.problem;
        let mut loud = case.clone();
        let mut hidden = vec![true; case.dy.len()];
        for (index, hidden) in hidden.iter_mut().enumerate() {
            let (row, key) = (index / p.keys, index % p.keys);
            let place = row / (p.heads * p.rows) * p.seq + row % p.seq;
            let from = case.reset.as_ref().map_or(0.0, |first| first[place]);
            *hidden = (key as f32) < from || key > p.past + row % p.seq;
            if *hidden {
                loud.operands[0][index] = 3e4;
                loud.dy[index] = -3e4;
            }
        }
        for path in PATHS {
            let (found, expected): (Outcome<1>, _) = (loud.run(path), case.run(path));
            assert_eq!(found.y, expected.y, "{path:?} {}", p.label());
            let gradients = [&found.gradients[0], &expected.gradients[0]];
            assert_eq!(gradients[0], gradients[1], "{path:?} {}", p.label());
            for (index, _) in hidden.iter().enumerate().filter(|(_, hidden)| **hidden) {
                assert_eq!(found.y[index], 0.0, "{path:?} {}: {index}", p.label());
                assert_eq!(gradients[0][index], 0.0, "{path:?} {}", p.label());
            }
        }
    }
}

#[test]
fn half_precision_rounds_once() {
    let device = Default::default();
    for (dtype, epsilon) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
        if !Subject::supports_dtype(&device, dtype) {
            continue;
        }
        for (sizes, past, room) in [
            ([2, 2, 3, 40], 0, 0),
            ([1, 2, 1, 65], 0, 0),
            ([1, 2, 3, 3], 405, 8),
        ] {
            let problem = problem(sizes, past, room);
            let case = Case::seeded(problem, 3);
            let reset = Some(documents(&problem));
            check_half_precision(&case, dtype, epsilon);
            check_half_precision(&Case { reset, ..case }, dtype, epsilon);
        }
    }
}

/// The weights against the f64 definition on rounded scores, the gradient against the formula on the rounded
/// weights; `epsilon` is half a unit in the last place of the type.
fn check_half_precision(case: &Case<MaskedSoftmaxProblem, 1>, dtype: DType, epsilon: f64) {
    let p = case.problem;
    let name = format!("{dtype:?} {}", p.label());
    let round = |value: &f32| match dtype {
        DType::F16 => f16::from_f32(*value).to_f32(),
        _ => bf16::from_f32(*value).to_f32(),
    };
    let mut case = case.clone();
    case.operands[0] = case.operands[0].iter().map(round).collect();
    case.dy = case.dy.iter().map(round).collect();

    let shape = [p.batch, p.heads, p.rows, p.keys];
    let short = |values: &[f32]| {
        Subject::float_cast(upload::<Subject>(values, &shape), FloatDType::from(dtype))
    };
    let first = (case.reset.as_ref()).map(|first| upload::<Subject>(first, &p.documents_shape()));
    let scores = short(&case.operands[0]);
    let weights = Subject::masked_softmax_forward(scores, first.clone(), &p);
    assert_eq!(burn::tensor::TensorMetadata::dtype(&weights), dtype);
    let dscores = Subject::masked_softmax_backward(weights.clone(), first, short(&case.dy), &p);
    assert_eq!(burn::tensor::TensorMetadata::dtype(&dscores), dtype);

    let weights = download::<Subject>(weights);
    for (index, (found, expected)) in weights.iter().zip(&case.expected()[0].1).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let bound = 1.01 * epsilon * expected.max(2f64.powi(-14));
        assert!(
            error <= bound,
            "{name}: [{index}] is {found:e}, expected {expected:e}"
        );
    }
    let rows = weights.chunks(p.keys).zip(case.dy.chunks(p.keys));
    let expected = rows.flat_map(|(weights, dweights)| {
        let pairs = || weights.iter().zip(dweights);
        let along: f64 = pairs().map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum();
        let pull = |(w, dw): (&f32, &f32)| f64::from(*w) * p.scale * (f64::from(*dw) - along);
        pairs().map(pull).collect::<Vec<f64>>()
    });
    let expected: Vec<f64> = expected.collect();
    let largest = expected
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len() as f64).sqrt();
    let tolerance = 1.01 * epsilon * largest / rms;
    assert_close(&name, &download::<Subject>(dscores), &expected, tolerance);
}

#[test]
fn a_first_key_after_the_own_counts_as_the_own() {
    let device = Default::default();
    let scores = Tensor::<Subject, 4>::ones([1, 1, 3, 5], &device);
    let visible = VisibleKeys {
        seq: 3,
        past: 1,
        first: Some(Tensor::from_data([[0.0, 9.0, 2.0]], &device)),
    };
    let weights = masked_softmax(scores, visible, 1.0).expect("shapes agree");
    #[rustfmt::skip]
    let expected = [
        0.5, 0.5, 0.0, 0.0, 0.0,
        0.0, 0.0, 1.0, 0.0, 0.0,
        0.0, 0.0, 0.5, 0.5, 0.0,
    ];
    let weights: Vec<f32> = weights.into_data().to_vec().expect("f32");
    assert_eq!(weights, expected);
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |shape: [usize; 4], seq: usize, past: usize, first: [usize; 2], scale: f64| {
        let scores = Tensor::<Subject, 4>::zeros(shape, &device);
        let first = Some(Tensor::zeros(first, &device));
        let visible = VisibleKeys { seq, past, first };
        masked_softmax(scores, visible, scale).expect_err("inputs are wrong")
    };
    let first = run([2, 1, 6, 6], 3, 1, [2, 6], 1.0);
    assert!(
        matches!(first, KernelError::Shape { input: "first", .. }),
        "{first}"
    );
    assert_eq!(
        run([2, 1, 6, 6], 4, 1, [2, 4], 1.0).to_string(),
        "masked_softmax: `rows` is 6, must be a multiple of `seq` = 4"
    );
    assert_eq!(
        run([2, 1, 6, 6], 3, 4, [2, 3], 1.0).to_string(),
        "masked_softmax: `keys` is 6, must be at least `past` + `seq` = 4 + 3"
    );
    let empty = run([2, 1, 6, 6], 0, 4, [2, 3], 1.0);
    assert!(
        matches!(empty, KernelError::Empty { size: "seq", .. }),
        "{empty}"
    );
    let scale = run([2, 1, 6, 6], 3, 1, [2, 3], f64::INFINITY);
    assert!(matches!(scale, KernelError::Scale { .. }), "{scale}");
}
