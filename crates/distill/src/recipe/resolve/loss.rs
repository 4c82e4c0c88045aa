//! The loss of a stage from the keys of its table.
use super::check::Check;
use crate::error::DistillError;
use crate::recipe::loss::LossFields;
use crate::recipe::{Divergence, DivergenceKind, KlMask, KlReduction, LossPlan};

/// Fills in defaults and checks; `kl_weight` is the table's default.
pub(super) fn loss_plan(
    table: &str,
    fields: &LossFields,
    kl_weight: f64,
    check: &Check,
) -> Result<LossPlan, DistillError> {
    let plan = LossPlan {
        ce_weight: fields.ce_weight.unwrap_or(1.0),
        kl_weight: fields.kl_weight.unwrap_or(kl_weight),
        kl_reduction: fields.kl_reduction.unwrap_or(KlReduction::TokenMean),
        kl_mask: fields.kl_mask.unwrap_or(KlMask::Labels),
        divergence: divergence(table, fields, check)?,
        temperature: fields.temperature.unwrap_or(1.0),
    };
    let number = |field: &str, value: f64, is_right: bool, expected: &str| {
        check.that(
            is_right && value.is_finite(),
            &format!("{table}.{field}"),
            || value.to_string(),
            expected,
        )
    };
    let (ce, kl) = (plan.ce_weight, plan.kl_weight);
    number("ce_weight", ce, ce >= 0.0, "0 or above")?;
    number("kl_weight", kl, kl >= 0.0, "0 or above")?;
    number(
        "temperature",
        plan.temperature,
        plan.temperature > 0.0,
        "above 0, such as 2.0",
    )?;
    check.that(
        ce + kl > 0.0,
        &format!("{table}.ce_weight"),
        || "0 with `kl_weight` 0".into(),
        "above 0, or `kl_weight` above 0: otherwise nothing is learned",
    )?;
    let unused = [
        ("divergence", fields.divergence.is_some()),
        ("temperature", fields.temperature.is_some()),
    ];
    for (field, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
        check.that(
            kl > 0.0,
            &format!("{table}.{field}"),
            || "set with `kl_weight` 0".into(),
            "left out, or `kl_weight` above 0, such as 1.0",
        )?;
    }
    Ok(plan)
}

fn divergence(table: &str, fields: &LossFields, check: &Check) -> Result<Divergence, DistillError> {
    let kind = fields.divergence.unwrap_or(DivergenceKind::ForwardKl);
    let belongs = |field: &str, is_set: bool, owner: DivergenceKind| {
        check.that(
            !is_set || kind == owner,
            &format!("{table}.{field}"),
            || format!("set with `divergence` \"{}\"", kind.name()),
            &format!("left out, or `divergence = \"{}\"`", owner.name()),
        )
    };
    belongs("top_k", fields.top_k.is_some(), DivergenceKind::TopK)?;
    belongs("jsd_beta", fields.jsd_beta.is_some(), DivergenceKind::Jsd)?;
    Ok(match kind {
        DivergenceKind::ForwardKl => Divergence::ForwardKl,
        DivergenceKind::ReverseKl => Divergence::ReverseKl,
        DivergenceKind::Jsd => {
            let beta = fields.jsd_beta.unwrap_or(0.5);
            check.that(
                beta > 0.0 && beta < 1.0,
                &format!("{table}.jsd_beta"),
                || beta.to_string(),
                "between 0 and 1, such as 0.5; the ends are \"forward-kl\" and \"reverse-kl\"",
            )?;
            Divergence::Jsd { beta }
        }
        DivergenceKind::TopK => {
            let k = fields.top_k.unwrap_or(64);
            check.that(
                k >= 1,
                &format!("{table}.top_k"),
                || k.to_string(),
                "at least 1, such as 64",
            )?;
            Divergence::TopK { k }
        }
    })
}
