//! Whether the stages can read a cache of the teacher.
use super::check::Check;
use crate::error::DistillError;
use crate::recipe::{
    Divergence, KlMask, Packing, Plan, StageKind, StagePlan, TeacherCachePlan, TeacherCacheTable,
};

/// Fills in the default and checks.
pub(super) fn teacher_cache(
    table: &TeacherCacheTable,
    check: &Check,
) -> Result<TeacherCachePlan, DistillError> {
    let k = table.k.unwrap_or(64);
    check.that(
        k >= 1,
        "teacher_cache.k",
        || k.to_string(),
        "at least 1, such as 64",
    )?;
    Ok(TeacherCachePlan { k })
}

/// Refuses stages whose loss needs more than a cache has.
pub(super) fn check_stages(plan: &Plan, check: &Check) -> Result<(), DistillError> {
    let Some(TeacherCachePlan { k }) = plan.teacher_cache else {
        return Ok(());
    };
    check.that(
        plan.data.packing != Packing::Published,
        "data.packing",
        || "\"published\" with `teacher_cache`".into(),
        "\"none\" or \"exact\": where documents leak, the teacher says something else in each row",
    )?;
    let served = |stage: &&StagePlan| {
        matches!(stage.kind, StageKind::Distillation | StageKind::Sft)
            && stage.steps > 0
            && stage.loss.kl_weight > 0.0
    };
    let mut stages = plan.stages().filter(served).peekable();
    check.that(
        stages.peek().is_some(),
        "teacher_cache",
        || "set without a stage that reads it".into(),
        "left out, or `kl_weight` of `distillation` or `sft` above 0",
    )?;
    for stage in stages {
        let (table, loss) = (stage.kind.name(), &stage.loss);
        let is_kept = matches!(loss.divergence, Divergence::TopK { k: wanted } if wanted <= k);
        check.that(
            is_kept,
            &format!("{table}.divergence"),
            || match loss.divergence {
                Divergence::TopK { k } => format!("\"top-k\" of {k} tokens"),
                _ => "another than \"top-k\"".into(),
            },
            &format!(
                "\"top-k\" with `top_k` at most `teacher_cache.k`, which is {k}: the cache has no more"
            ),
        )?;
        check.that(
            loss.kl_mask == KlMask::Labels,
            &format!("{table}.kl_mask"),
            || "\"all\" with `teacher_cache`".into(),
            "\"labels\": the cache has no other positions",
        )?;
        check.that(
            loss.temperature == 1.0,
            &format!("{table}.temperature"),
            || format!("{} with `teacher_cache`", loss.temperature),
            "1.0: the cache is of the teacher as it is",
        )?;
    }
    Ok(())
}
