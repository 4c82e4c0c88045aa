use burn::backend::Flex;
use proptest::prelude::*;

use super::*;
use crate::loss::testing::{numbers, worst_error};
use crate::recipe::DpoReference;

type T = Autodiff<Flex>;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `-log sigmoid(x)`.
fn softplus_of_minus(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Value, and slope in the chosen and the rejected reply's log-probability, by hand.
fn by_hand(plan: &DpoPlan, ratios: [f64; 2], tokens: [f64; 2]) -> [f64; 3] {
    let beta = plan.beta;
    let h = ratios[0] - ratios[1];
    let m = beta * h;
    let (value, slope) = match plan.loss {
        PreferenceLoss::Sigmoid => (softplus_of_minus(m), -beta * sigmoid(-m)),
        PreferenceLoss::Ipo => ((h - 0.5 / beta).powi(2), 2.0 * h - 1.0 / beta),
        PreferenceLoss::Hinge => ((1.0 - m).max(0.0), if m < 1.0 { -beta } else { 0.0 }),
        PreferenceLoss::Robust { label_smoothing: e } => (
            ((1.0 - e) * softplus_of_minus(m) - e * softplus_of_minus(-m)) / (1.0 - 2.0 * e),
            // The weight of DPO plus a constant (arXiv 2403.00409).
            -beta * (sigmoid(-m) + e / (1.0 - 2.0 * e)),
        ),
        PreferenceLoss::LengthNormalized => {
            let m = beta * (ratios[0] / tokens[0] - ratios[1] / tokens[1]);
            let slope = beta * sigmoid(-m);
            return [softplus_of_minus(m), -slope / tokens[0], slope / tokens[1]];
        }
    };
    [value, slope, -slope]
}

fn run(plan: &DpoPlan, policy: [f32; 2], reference: [f32; 2], tokens: [f32; 2]) -> [f64; 3] {
    let device = Default::default();
    let pair = |[chosen, rejected]: [f32; 2]| PairValues {
        chosen: Tensor::<T, 1>::from_floats([chosen], &device),
        rejected: Tensor::from_floats([rejected], &device),
    };
    let policy = pair(policy);
    let policy = PairValues {
        chosen: policy.chosen.require_grad(),
        rejected: policy.rejected.require_grad(),
    };
    let loss = dpo_loss(policy.clone(), pair(reference), pair(tokens), plan);
    let gradients = loss.per_pair.clone().sum().backward();
    let slope = |leaf: Tensor<T, 1>| leaf.grad(&gradients).map_or(0.0, |slope| numbers(slope)[0]);
    [
        numbers(loss.per_pair)[0],
        slope(policy.chosen),
        slope(policy.rejected),
    ]
}

fn any_loss() -> impl Strategy<Value = PreferenceLoss> {
    prop_oneof![
        Just(PreferenceLoss::Sigmoid),
        Just(PreferenceLoss::Ipo),
        Just(PreferenceLoss::Hinge),
        (0.01..0.45f64).prop_map(|label_smoothing| PreferenceLoss::Robust { label_smoothing }),
        Just(PreferenceLoss::LengthNormalized),
    ]
}

proptest! {
    #[test]
    fn values_and_slopes_are_those_of_the_formulas(
        loss in any_loss(),
        beta in 0.05..5.0f64,
        policy in [-60f32..-1.0, -60f32..-1.0],
        reference in [-60f32..-1.0, -60f32..-1.0],
        tokens in [1u8..40, 1u8..40],
    ) {
        let plan = DpoPlan { beta, reference: DpoReference::SftCopy, loss };
        let tokens = tokens.map(f32::from);
        let ratios = [0, 1].map(|side| f64::from(policy[side]) - f64::from(reference[side]));
        // The kink of the hinge has no slope.
        prop_assume!((beta * (ratios[0] - ratios[1]) - 1.0).abs() > 1e-3);
        let expected = by_hand(&plan, ratios, tokens.map(f64::from));
        let got = run(&plan, policy, reference, tokens);
        prop_assert!(worst_error(&got[..1], &expected[..1], 1.0) < 1e-5, "{got:?} {expected:?}");
        prop_assert!(worst_error(&got[1..], &expected[1..], 0.1) < 1e-4, "{got:?} {expected:?}");
    }
}

#[test]
fn robust_without_smoothing_is_sigmoid_and_equal_lengths_only_rescale_beta() {
    let plan = |beta, loss| DpoPlan {
        beta,
        reference: DpoReference::SftCopy,
        loss,
    };
    let (policy, reference) = ([-10.0, -12.5], [-11.0, -11.0]);
    let run = |beta, loss| run(&plan(beta, loss), policy, reference, [4.0, 4.0]);
    let sigmoid = run(0.5, PreferenceLoss::Sigmoid);
    let robust = run(
        0.5,
        PreferenceLoss::Robust {
            label_smoothing: 0.0,
        },
    );
    assert!(worst_error(&robust, &sigmoid, 0.1) < 1e-6);
    let normalized = run(2.0, PreferenceLoss::LengthNormalized);
    assert!(worst_error(&normalized, &sigmoid, 0.1) < 1e-6);
}
