//! Every case of every operation on one backend.

use super::compare::{CaseCheck, compare};
use super::golden::{GoldenCase, GoldenError, Tensors};
use super::host::{self, Layout};
use super::{mixer, single_output, state_space};
use crate::backend::SsmBackend;
use crate::{
    adamw, argmax, cached_attention, causal_conv1d, cross_entropy_kl, decode_step, fused_linear,
    gated_rms_norm, masked_softmax, product, rms_norm, rotary, selective_scan, squared_norm, ssd,
    swiglu, verify, weigh_drafts,
};
use burn::tensor::Device;

/// Layouts in which some cases run once more.
const LAYOUTS: [Layout; 2] = [Layout::Turned, Layout::Across];

/// Runs the cases of all operations on `device` and hands each to `report` when it is done.
///
/// Memory is full of NaN before each. Every seventh case runs once more on inputs that are not contiguous.
pub fn check_cases<B: SsmBackend>(device: &Device<B>, report: &mut dyn FnMut(CaseCheck)) {
    host::on_device::<B>(device, || check_some::<B>(1, report));
}

/// Runs one of `every` so many cases of each operation.
fn check_some<B: SsmBackend>(every: usize, report: &mut dyn FnMut(CaseCheck)) {
    check_all(
        every,
        selective_scan::self_test::cases(),
        with_state::<B, _>("selective_scan"),
        report,
    );
    check_all(
        every,
        ssd::self_test::cases(),
        with_state::<B, _>("ssd"),
        report,
    );
    check_all(
        every,
        causal_conv1d::self_test::cases(),
        with_one_output::<B, _, 4>("causal_conv1d"),
        report,
    );
    check_all(
        every,
        gated_rms_norm::self_test::cases(),
        with_one_output::<B, _, 3>("gated_rms_norm"),
        report,
    );
    check_all(
        every,
        masked_softmax::self_test::cases(),
        with_one_output::<B, _, 1>("masked_softmax"),
        report,
    );
    check_all(
        every,
        rms_norm::self_test::cases(),
        with_one_output::<B, _, 2>("rms_norm"),
        report,
    );
    check_all(
        every,
        swiglu::self_test::cases(),
        with_one_output::<B, _, 2>("swiglu"),
        report,
    );
    check_all(
        every,
        rotary::self_test::cases(),
        with_one_output::<B, _, 1>("rotary"),
        report,
    );
    let matrices = |case: &product::self_test::Case| CaseCheck {
        op: "product",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    let supported = product::self_test::is_supported::<B>;
    let cases = product::self_test::cases().into_iter();
    check_all(every, cases.filter(supported).collect(), matrices, report);
    let single = |case: &decode_step::self_test::Case| CaseCheck {
        op: "decode_step",
        case: case.label(),
        tensors: case.check::<B>(false),
    };
    check_all(every, decode_step::self_test::cases(), single, report);
    let several = |case: &verify::self_test::Case| CaseCheck {
        op: "verify",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    let supported = verify::self_test::is_supported::<B>;
    let cases = verify::self_test::cases().into_iter();
    check_all(every, cases.filter(supported).collect(), several, report);
    let products = |case: &fused_linear::self_test::Case| CaseCheck {
        op: "fused_linear",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    let supported = fused_linear::self_test::is_supported::<B>;
    let cases = fused_linear::self_test::cases().into_iter();
    check_all(every, cases.filter(supported).collect(), products, report);
    let attention = |case: &cached_attention::self_test::Case| CaseCheck {
        op: "cached_attention",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    let cases = cached_attention::self_test::cases();
    check_all(every, cases, attention, report);
    let ids = |case: &argmax::self_test::Case| CaseCheck {
        op: "argmax",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    check_all(every, argmax::self_test::cases(), ids, report);
    let drafts = |case: &weigh_drafts::self_test::Case| CaseCheck {
        op: "weigh_drafts",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    let supported = weigh_drafts::self_test::is_supported::<B>;
    let cases = weigh_drafts::self_test::cases().into_iter();
    check_all(every, cases.filter(supported).collect(), drafts, report);
    let loss = |case: &cross_entropy_kl::self_test::Case| CaseCheck {
        op: "cross_entropy_kl",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    check_all(every, cross_entropy_kl::self_test::cases(), loss, report);
    let step = |case: &adamw::self_test::Case| CaseCheck {
        op: "adamw",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    check_all(every, adamw::self_test::cases(), step, report);
    let sum = |case: &squared_norm::self_test::Case| CaseCheck {
        op: "squared_norm",
        case: case.label(),
        tensors: case.check::<B>(),
    };
    check_all(every, squared_norm::self_test::cases(), sum, report);
    for case in mixer::cases() {
        report(CaseCheck {
            op: "mixer",
            case: format!("train, prefill, step, verify: {}", case.label()),
            tensors: mixer::check::<B>(&case),
        });
    }
}

/// Runs one of `every` so many cases, and some in other layouts.
fn check_all<C>(
    every: usize,
    cases: Vec<C>,
    check: impl Fn(&C) -> CaseCheck,
    report: &mut dyn FnMut(CaseCheck),
) {
    for (index, case) in cases.iter().step_by(every).enumerate() {
        report(check(case));
        if index % 7 == 6 {
            let layout = LAYOUTS[index / 7 % LAYOUTS.len()];
            let mut again = host::laid_out(layout, || check(case));
            again.case.push_str(layout.label());
            report(again);
        }
    }
}

fn with_state<B: SsmBackend, P: state_space::Operation>(
    op: &'static str,
) -> impl Fn(&state_space::Case<P>) -> CaseCheck {
    move |case| {
        let documents = if case.reset.is_some() { " reset" } else { "" };
        CaseCheck {
            op,
            case: format!("{}{documents}", case.problem.label()),
            tensors: compare(&case.run_public::<B>().named(), &case.expected()),
        }
    }
}

fn with_one_output<B: SsmBackend, P: single_output::Operation<N>, const N: usize>(
    op: &'static str,
) -> impl Fn(&single_output::Case<P, N>) -> CaseCheck {
    move |case| {
        let documents = if case.reset.is_some() {
            " documents"
        } else {
            ""
        };
        CaseCheck {
            op,
            case: format!("{}{documents}", case.problem.label()),
            tensors: compare(&case.named(case.run_public::<B>()), &case.expected()),
        }
    }
}

/// Runs what a file of golden values holds: the selective scan, SSD, the gated norm or the
/// convolution.
///
/// # Errors
/// Tensors of something else, or some missing or of shapes that do not agree.
pub fn check_golden<B: SsmBackend>(file: &Tensors) -> Result<Vec<CaseCheck>, GoldenError> {
    if file.has("in.u") {
        return golden_state::<B, _>("selective_scan", selective_scan::self_test::golden(file)?);
    }
    if file.has("in.x") && file.has("in.dt") {
        return golden_state::<B, _>("ssd", ssd::self_test::golden(file)?);
    }
    if file.has("in.x") {
        let cases = gated_rms_norm::self_test::golden(file)?;
        return golden_output::<B, _, 3>("gated_rms_norm", cases);
    }
    if file.has("conv.in.prefix") {
        let cases = causal_conv1d::self_test::golden(file)?;
        return golden_output::<B, _, 4>("causal_conv1d", cases);
    }
    Err(GoldenError::Foreign)
}

fn golden_state<B: SsmBackend, P: state_space::Operation>(
    op: &'static str,
    cases: Vec<GoldenCase<state_space::Case<P>>>,
) -> Result<Vec<CaseCheck>, GoldenError> {
    let run = |golden: GoldenCase<state_space::Case<P>>| {
        golden.check_sizes(&golden.case.problem.shapes(), &golden.case.operands)?;
        golden.check_weights(golden.case.operands[0].len(), golden.case.dy.len())?;
        golden.check_weights(golden.case.problem.state_len(), golden.case.dlast.len())?;
        Ok(CaseCheck {
            op,
            tensors: compare(&golden.case.run_public::<B>().named(), &golden.expected),
            case: golden.name,
        })
    };
    cases.into_iter().map(run).collect()
}

fn golden_output<B: SsmBackend, P: single_output::Operation<N>, const N: usize>(
    op: &'static str,
    cases: Vec<GoldenCase<single_output::Case<P, N>>>,
) -> Result<Vec<CaseCheck>, GoldenError> {
    let run = |golden: GoldenCase<single_output::Case<P, N>>| {
        let case = &golden.case;
        golden.check_sizes(&case.problem.shapes(), &case.operands)?;
        golden.check_weights(case.operands[0].len(), case.dy.len())?;
        Ok(CaseCheck {
            op,
            tensors: compare(&case.named(case.run_public::<B>()), &golden.expected),
            case: golden.name,
        })
    };
    cases.into_iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_test::single_output::Operation as _;
    use crate::self_test::state_space::Operation as _;

    /// A kernel that writes only zeros, or NaN, fails in every tensor that is not zero.
    fn assert_tells(case: &str, expected: &[(String, Vec<f64>)]) {
        for value in [0.0, f32::NAN] {
            let written: Vec<_> = (expected.iter())
                .map(|(name, values)| (name.clone(), vec![value; values.len()]))
                .collect();
            for (check, (_, values)) in compare(&written, expected).iter().zip(expected) {
                let is_zero = value == 0.0 && values.iter().all(|&value| value == 0.0);
                assert_eq!(
                    check.has_passed(),
                    is_zero,
                    "{case} {}: {value}",
                    check.tensor
                );
                // Documents and single steps leave some gradients without a way to the loss.
                let may_be_zero = check.tensor.starts_with("grad.");
                assert!(!is_zero || may_be_zero, "{case} {}", check.tensor);
            }
        }
    }

    #[test]
    fn every_case_tells_zeros_and_nan_from_results() {
        for case in selective_scan::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in ssd::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in causal_conv1d::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in gated_rms_norm::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in masked_softmax::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in rms_norm::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in swiglu::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in rotary::self_test::cases() {
            assert_tells(&case.problem.label(), &case.expected());
        }
        for case in product::self_test::cases() {
            assert_tells(&case.label(), &[("out".to_owned(), case.naive())]);
        }
        for case in decode_step::self_test::cases() {
            let names = ["y", "window", "state"].map(str::to_owned);
            let expected = names.into_iter().zip(case.naive(&case.inputs(7)));
            assert_tells(&case.label(), &expected.collect::<Vec<_>>());
        }
        for case in verify::self_test::cases() {
            let expected = case.naive(&verify::self_test::ROUNDS);
            let named = [
                ("y", expected.y),
                ("window", expected.windows),
                ("state", expected.states),
            ];
            assert_tells(&case.label(), &named.map(|(name, v)| (name.to_owned(), v)));
        }
        for case in fused_linear::self_test::cases() {
            let out = case.naive(&case.inputs(7));
            assert_tells(&case.label(), &[("out".to_owned(), out)]);
        }
        for case in cached_attention::self_test::cases() {
            let names = ["mixed", "keys", "values"].map(str::to_owned);
            let expected = names.into_iter().zip(case.naive(&case.inputs(7)));
            assert_tells(&case.label(), &expected.collect::<Vec<_>>());
        }
        for case in argmax::self_test::cases() {
            let ids = case.naive(&case.logits());
            assert_tells(&case.label(), &[("ids".to_owned(), ids)]);
        }
        for case in weigh_drafts::self_test::cases() {
            assert_tells(&case.label(), &case.naive());
        }
        for case in cross_entropy_kl::self_test::cases() {
            assert_tells(&case.label(), &case.naive(&case.inputs(7)));
        }
        for case in squared_norm::self_test::cases() {
            assert_tells(&case.label(), &case.naive());
        }
        for case in adamw::self_test::cases() {
            // Gradients of zero leave zero moments.
            if case.scale > 0.0 {
                assert_tells(&case.label(), &case.naive());
            }
        }
    }

    #[cfg(all(feature = "wgpu", not(feature = "cuda")))]
    #[test]
    fn eight_storage_buffers_are_enough() {
        use crate::testing::{limited, subject::Subject};

        let device = limited::device();
        let grants = Subject::device_features(&device);
        assert!(grants.contains(&("bindings", "7".to_owned())), "{grants:?}");
        let mut seen = std::collections::BTreeMap::new();
        host::on_device::<Subject>(&device, || {
            let mut report = |check: CaseCheck| {
                check.assert_passed("with eight storage buffers");
                *seen.entry(check.op).or_insert(0) += 1;
            };
            check_some::<Subject>(5, &mut report);
        });
        assert_eq!(seen.len(), 19, "{seen:?}");
    }
}
