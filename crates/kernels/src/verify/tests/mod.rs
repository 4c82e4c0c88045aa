mod golden;

use super::problem::VerifyProblem;
use super::self_test::{self, ROUNDS};
use super::{Kept, VerifyState, reference, verify};
use crate::backend::SsmBackend;
use crate::decode_step::self_test::{Case, Inputs, MAMBA1, MAMBA2, cases, host, tensor};
use crate::decode_step::{DecodeState, DecodeStep, decode_step};
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use crate::self_test::{CaseCheck, TensorCheck, mixer};
use crate::testing::state_space::widen;
use crate::testing::subject::Subject;
use crate::testing::{F32_TOLERANCE, Seeded, assert_close};
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

/// Draft lengths run from 1 to this.
const LONGEST_DRAFT: usize = 8;

/// One sequence, in single steps: the memory after every number of tokens of the last call.
struct Sequence {
    memories: Vec<DecodeState<Flex>>,
}

impl Sequence {
    /// Drops all but `kept` tokens of the last call and runs `rows`; returns the outputs.
    fn advance(&mut self, step: &DecodeStep<Flex>, kept: usize, rows: &[f32]) -> Vec<f32> {
        let width = step.sizes().row_width();
        let mut memories = vec![self.memories.swap_remove(kept)];
        let mut outputs = Vec::new();
        for row in rows.chunks_exact(width) {
            let state = memories[memories.len() - 1].clone();
            let (y, next) = decode_step(step, tensor(row, [1, width]), state).unwrap();
            outputs.extend(host(y));
            memories.push(next);
        }
        self.memories = memories;
        outputs
    }
}

fn sequences(case: &Case, inputs: &Inputs) -> Vec<Sequence> {
    let state = case.state::<Flex>(inputs);
    let one = |index: usize| DecodeState {
        conv_window: state.conv_window.clone().narrow(0, index, 1),
        ssm_state: state.ssm_state.clone().narrow(0, index, 1),
    };
    let sequence = |index| Sequence {
        memories: vec![one(index)],
    };
    (0..case.batch).map(sequence).collect()
}

fn by_reference<B: SsmBackend>(
    step: &DecodeStep<B>,
    rows: Tensor<B, 3>,
    state: VerifyState<B>,
    kept: &Kept<B>,
) -> (Tensor<B, 3>, VerifyState<B>) {
    let problem = VerifyProblem::validate(step.sizes(), &rows, &state, kept.counts()).unwrap();
    let operands = [
        unwrap(rows),
        unwrap(state.states),
        unwrap(state.conv_inputs),
        unwrap(state.cache),
        unwrap(kept.tensor()),
        unwrap(step.packed()),
    ];
    let [y, states, conv_inputs, cache] = reference::forward::<B>(operands, &problem);
    let state = VerifyState {
        states: wrap(states),
        conv_inputs: wrap(conv_inputs),
        cache: wrap(cache),
    };
    (wrap(y), state)
}

fn assert_passed(op: &'static str, case: String, tensors: Vec<TensorCheck>) {
    CaseCheck { op, case, tensors }.assert_passed("");
}

#[test]
fn the_reference_follows_the_equations_whatever_is_kept() {
    for case in self_test::cases() {
        let got = case.run::<Flex>(&ROUNDS, by_reference);
        let tensors = case.compared(got, case.naive(&ROUNDS));
        assert_passed("verify", case.label(), tensors);
    }
}

#[test]
fn the_implementation_under_test_follows_the_equations_whatever_is_kept() {
    for case in self_test::cases() {
        if self_test::is_supported::<Subject>(&case) {
            assert_passed("verify", case.label(), case.check::<Subject>());
        }
    }
}

/// Outputs of the same calls, each sequence in single steps on the CPU.
fn in_single_steps(case: &self_test::Case, rounds: &[usize]) -> Vec<f32> {
    let inputs = case.inputs();
    let step = case.mixer.step::<Flex>(&inputs);
    let mut sequences = sequences(&case.mixer, &inputs);
    let mut outputs = Vec::new();
    for (rows, kept) in case.calls(rounds) {
        let rows = rows.chunks_exact(rows.len() / case.mixer.batch);
        for ((sequence, rows), kept) in sequences.iter_mut().zip(rows).zip(kept) {
            outputs.extend(sequence.advance(&step, kept, rows));
        }
    }
    outputs
}

fn run<B: SsmBackend>(case: &self_test::Case, rounds: &[usize]) -> Vec<f32> {
    let results = case.run::<B>(rounds, |step, rows, state, kept| {
        verify(step, rows, state, kept).unwrap()
    });
    results.y
}

#[test]
fn on_the_cpu_it_equals_single_steps_bit_for_bit() {
    for case in self_test::cases() {
        if case.dtype == DType::F32 {
            let (got, expected) = (run::<Flex>(&case, &ROUNDS), in_single_steps(&case, &ROUNDS));
            assert_eq!(got, expected, "{}", case.label());
        }
    }
}

#[test]
fn every_draft_length_is_verified() {
    // A norm over a small group multiplies rounding; the cases above have it.
    let without_norm = |case: &Case| !case.has_norm && case.shape.headdim > 1;
    let mamba2 = cases().into_iter().find(without_norm);
    for mixer in [MAMBA1, mamba2.expect("a case without a norm")] {
        let case = self_test::Case::new(mixer, DType::F32);
        for draft in 1..=LONGEST_DRAFT {
            let rounds = [draft + 1; 4];
            let expected = widen(&in_single_steps(&case, &rounds));
            let got = run::<Subject>(&case, &rounds);
            assert_close(&case.label(), &got, &expected, F32_TOLERANCE);
        }
    }
}

#[test]
fn training_prefill_steps_and_drafts_agree() {
    let cases = mixer::cases();
    let is_mamba1 = |case: &Case| case.step::<Flex>(&case.inputs(7)).sizes().a_is_per_state;
    let kinds = [true, false].map(|kind| cases.iter().any(|case| is_mamba1(case) == kind));
    assert_eq!(kinds, [true; 2], "both mixers have a case");
    for case in cases {
        assert_passed("mixer", case.label(), mixer::check::<Subject>(&case));
    }
}

/// Runs two calls, the second after keeping `kept` of four tokens, and returns all it gives.
fn second_call(
    case: &Case,
    kept: usize,
    device_state: &mut Option<VerifyState<Subject>>,
) -> Vec<f32> {
    let inputs = case.inputs(7);
    let step = case.step::<Subject>(&inputs);
    let mut seeded = Seeded::new(3);
    let mut rows = || {
        let dims = [case.batch, 4, case.row_width()];
        tensor::<Subject, 3>(&seeded.uniforms(dims.iter().product(), -1.0, 1.0), dims)
    };
    let state = VerifyState::new(&step, case.state::<Subject>(&inputs));
    let none = Kept::new(vec![0; case.batch], &Default::default());
    let (_, state) = verify(&step, rows(), state, &none).unwrap();
    *device_state = Some(state.clone());
    let kept = Kept::new(vec![kept; case.batch], &Default::default());
    let (y, _) = verify(&step, rows(), state, &kept).unwrap();
    host(y)
}

#[test]
fn each_number_of_kept_tokens_gives_another_output() {
    for case in [MAMBA1, MAMBA2] {
        let outputs: Vec<Vec<f32>> = (0..=4)
            .map(|kept| second_call(&case, kept, &mut None))
            .collect();
        for (index, output) in outputs.iter().enumerate() {
            assert!(outputs[..index].iter().all(|other| other != output));
        }
    }
}

#[test]
fn a_memory_that_is_still_held_keeps_its_values() {
    let (mut first, mut second) = (None, None);
    second_call(&MAMBA2, 2, &mut first);
    second_call(&MAMBA2, 4, &mut second);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(host(first.states), host(second.states));
    assert_eq!(host(first.conv_inputs), host(second.conv_inputs));
    assert_eq!(host(first.cache), host(second.cache));
}

#[test]
fn outputs_have_the_types_of_their_inputs() {
    let inputs = MAMBA2.inputs(7);
    let step = MAMBA2.step::<Subject>(&inputs);
    let mut state = VerifyState::new(&step, MAMBA2.state::<Subject>(&inputs));
    let dims = [MAMBA2.batch, 2, MAMBA2.row_width()];
    let rows = tensor::<Subject, 3>(
        &Seeded::new(3).uniforms(dims.iter().product(), -1.0, 1.0),
        dims,
    );
    let none = Kept::new(vec![0; MAMBA2.batch], &Default::default());
    let (exact, _) = verify(&step, rows.clone(), state.clone(), &none).unwrap();
    state.conv_inputs = state.conv_inputs.cast(DType::F16);
    let (y, state) = verify(&step, rows.cast(DType::F16), state, &none).unwrap();
    assert_eq!(y.dtype(), DType::F16);
    assert_eq!(state.conv_inputs.dtype(), DType::F16);
    assert_eq!(state.states.dtype(), DType::F32);
    assert_eq!(state.cache.dtype(), DType::F32);
    let exact: Vec<f64> = host(exact).into_iter().map(f64::from).collect();
    assert_close("y", &host(y), &exact, 0.02);
}

#[test]
fn what_is_wrong_is_named() {
    let inputs = MAMBA2.inputs(7);
    let step = MAMBA2.step::<Flex>(&inputs);
    let state = VerifyState::new(&step, MAMBA2.state::<Flex>(&inputs));
    let width = MAMBA2.row_width();
    let zeros = |batch, tokens, width| {
        Tensor::<Flex, 3>::zeros([batch, tokens, width], &Default::default())
    };
    let run = |rows, kept: Vec<usize>| {
        let kept = Kept::new(kept, &Default::default());
        verify(&step, rows, state.clone(), &kept).unwrap_err()
    };
    assert_eq!(
        run(zeros(2, 3, width), vec![0, 1]).to_string(),
        "verify: sequence 1 keeps 1 tokens of the last call, which had 0"
    );
    assert_eq!(
        run(zeros(2, 3, width), vec![0]).to_string(),
        "verify: `kept` has shape [1], expected [2] = [batch]"
    );
    assert_eq!(
        run(zeros(2, 0, width), vec![0, 0]).to_string(),
        "verify: `tokens` is 0, must be at least 1"
    );
    let error = run(zeros(2, 3, width + 1), vec![0, 0]);
    assert!(matches!(error, KernelError::Shape { input: "rows", .. }));
    let error = run(zeros(3, 3, width), vec![0, 0, 0]);
    assert!(matches!(
        error,
        KernelError::Shape {
            input: "conv_inputs",
            ..
        }
    ));
}
