//! Settings of DPO from the keys of its table.
use super::check::Check;
use crate::error::DistillError;
use crate::recipe::{DpoLossKind, DpoPlan, DpoReference, DpoTable, PreferenceLoss};

/// Fills in defaults and checks.
pub(super) fn dpo_plan(table: &DpoTable, check: &Check) -> Result<DpoPlan, DistillError> {
    let kind = table.loss.unwrap_or(DpoLossKind::Sigmoid);
    check.that(
        table.label_smoothing.is_none() || kind == DpoLossKind::Robust,
        "dpo.label_smoothing",
        || format!("set with `loss` \"{}\"", kind.name()),
        "left out, or `loss = \"robust\"`",
    )?;
    let loss = match kind {
        DpoLossKind::Sigmoid => PreferenceLoss::Sigmoid,
        DpoLossKind::Ipo => PreferenceLoss::Ipo,
        DpoLossKind::Hinge => PreferenceLoss::Hinge,
        DpoLossKind::Robust => {
            let label_smoothing = table.label_smoothing.unwrap_or(0.1);
            check.that(
                label_smoothing > 0.0 && label_smoothing < 0.5,
                "dpo.label_smoothing",
                || label_smoothing.to_string(),
                "between 0 and 0.5, such as 0.1; 0 is `loss = \"sigmoid\"`",
            )?;
            PreferenceLoss::Robust { label_smoothing }
        }
        DpoLossKind::LengthNormalized => PreferenceLoss::LengthNormalized,
    };
    let default_beta = match loss {
        PreferenceLoss::LengthNormalized => 5.0,
        _ => 0.1,
    };
    let beta = table.beta.unwrap_or(default_beta);
    check.that(
        beta > 0.0 && beta.is_finite(),
        "dpo.beta",
        || beta.to_string(),
        "above 0, such as 0.1",
    )?;
    Ok(DpoPlan {
        beta,
        reference: table.reference.unwrap_or(DpoReference::SftCopy),
        loss,
    })
}
