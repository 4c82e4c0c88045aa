use burn::backend::Flex;
use burn::tensor::DType;
use model::Tokenizer;

use super::*;
use crate::checkpoint::Origin;
use crate::data::PreferenceExample;
use crate::recipe::{
    Divergence, KlMask, Packing, PadTo, Plan, Precision, Recipe, TeacherCachePlan, default_recipe,
};
use crate::run::Event;
use crate::sweep::Teacher;
use crate::teacher_cache::TeacherCaches;
use crate::testing::{examples, student, teacher};

fn plan() -> Plan {
    let set = [
        "data.seq_len=16",
        "alignment.steps=12",
        "alignment.batch_size=4",
        "alignment.lr_peak=0.01",
        "alignment.warmup_steps=1",
        "distillation.steps=12",
        "distillation.batch_size=4",
        "distillation.lr_peak=0.01",
        "distillation.warmup_steps=1",
        "sft.steps=6",
        "sft.batch_size=4",
        "sft.grad_accumulation=2",
        "sft.warmup_steps=1",
        "sft.kl_weight=0.0",
        "dpo.steps=8",
        "dpo.batch_size=2",
        "dpo.warmup_steps=1",
        "dpo.lr_peak=0.003",
    ]
    .map(str::to_owned);
    let recipe = Recipe::parse(default_recipe(None), "test", &set).expect("the recipe parses");
    Plan::resolve(&recipe, "test").expect("the plan resolves")
}

fn data() -> Datasets {
    let pair = |index: usize| {
        let chosen = examples(8)[index].clone();
        let mut rejected = chosen.clone();
        rejected.ids[8..].reverse();
        PreferenceExample { chosen, rejected }
    };
    Datasets {
        distillation: examples(8).into(),
        sft: examples(8).into(),
        dpo: (0..8).map(pair).collect::<Vec<_>>().into(),
        ..Datasets::default()
    }
}

/// Runs the first stage of `kind` in the plan.
fn run(kind: StageKind, stop: &StopFlag) -> (StageOutcome<Flex>, Vec<Event>) {
    run_plan(&plan(), kind, stop)
}

fn run_plan(plan: &Plan, kind: StageKind, stop: &StopFlag) -> (StageOutcome<Flex>, Vec<Event>) {
    run_in(plan, kind, usize::MAX, stop)
}

/// Runs the stage with so many sequences at once at most.
fn run_in(
    plan: &Plan,
    kind: StageKind,
    micro_batch: usize,
    stop: &StopFlag,
) -> (StageOutcome<Flex>, Vec<Event>) {
    let (data, teacher) = (data(), teacher::<Flex>());
    let compute = plan.precision.compute();
    let (teacher, student) = (
        teacher.computing_in(compute),
        student().computing_in(compute),
    );
    let tokenizer = Tokenizer::train_bpe(["a"], 260, &["<|im_end|>"]).expect("trains");
    let stage = plan
        .stages()
        .find(|stage| stage.kind == kind)
        .expect("the plan has the stage");
    let mut events: Vec<Event> = Vec::new();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let origin = Origin {
        plan_sha256: "plan".into(),
        stage: stage.path(),
        parent_sha256: "parent".into(),
    };
    let checkpoints = StepCheckpoints::of(&dir.path().join("stage"), origin, plan.checkpoint);
    let of = Teacher {
        model: teacher.clone(),
        tokenizer: tokenizer.clone(),
        sha256: "teacher".into(),
    };
    let never = StopFlag::new();
    let caches = TeacherCaches::of(plan, &of, &data, dir.path(), &mut events, &never)
        .expect("the folder is new")
        .expect("nobody stopped it");
    let context = StageContext {
        plan,
        stage,
        teacher: &teacher,
        reference: None,
        tokenizer: &tokenizer,
        data: &data,
        events: &mut events,
        stop,
        device: &Default::default(),
        checkpoints: &checkpoints,
        micro_batch: micro_batch.min(stage.batch_size),
        teacher_caches: &caches,
    };
    let outcome = run_stage(context, student).expect("the stage runs");
    (outcome, events)
}

fn finished(kind: StageKind) -> (HybridModel<Flex>, StageSummary, Vec<Event>) {
    match run(kind, &StopFlag::new()) {
        (StageOutcome::Finished { model, summary }, events) => (model, summary, events),
        (StageOutcome::Interrupted, _) => panic!("nobody stopped it"),
    }
}

fn losses(events: &[Event]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Step { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect()
}

#[test]
fn bf16_follows_the_course_of_f32() {
    for kind in [StageKind::Distillation, StageKind::Dpo] {
        let plan = Plan {
            precision: Precision::Bf16,
            ..plan()
        };
        let (outcome, events) = run_plan(&plan, kind, &StopFlag::new());
        let StageOutcome::Finished { model, summary } = outcome else {
            panic!("nobody stopped it");
        };
        assert_eq!(summary.skipped_steps, 0);
        let (found, expected) = (losses(&events), losses(&finished(kind).2));
        assert_ne!(found, expected, "{kind:?}");
        for (found, expected) in found.iter().zip(&expected) {
            // Logits have 8 bits, and the updates of AdamW at the start have the sign of a gradient only.
            assert!(
                (found / expected - 1.0).abs() < 0.02,
                "{kind:?}: {found} and {expected}"
            );
        }
        assert!(
            model
                .named_tensors()
                .iter()
                .all(|(_, data)| data.dtype == DType::F32)
        );
    }
}

#[test]
fn steps_are_looked_at_by_part_and_layer() {
    let (model, _, events) = finished(StageKind::Distillation);
    let norm_of = |wanted: usize| {
        let found = events.iter().find_map(|event| match event {
            Event::Step {
                step, grad_norm, ..
            } if *step == wanted => Some(*grad_norm),
            _ => None,
        });
        found.expect("every step is in the log")
    };
    let mut count = 0;
    for event in &events {
        let Event::Profile {
            step,
            parts,
            layer_grad_norms,
            ..
        } = event
        else {
            continue;
        };
        count += 1;
        assert!(
            parts.named().iter().all(|(_, ms)| *ms > 0.0),
            "{step}: {parts:?}"
        );
        assert_eq!(layer_grad_norms.len(), model.n_layers());
        // The second layer keeps attention, which this stage does not train.
        assert_eq!(layer_grad_norms[1], 0.0);
        let squares: f64 = layer_grad_norms.iter().map(|norm| norm * norm).sum();
        let all = norm_of(*step);
        assert!(
            (squares.sqrt() / all - 1.0).abs() < 1e-5,
            "{step}: {layer_grad_norms:?} and {all}"
        );
    }
    assert_eq!(count, 12, "a short stage is looked at in every step");
}

#[test]
fn distillation_trains_mixers_only_and_repeats_itself() {
    let (model, summary, events) = finished(StageKind::Distillation);
    let losses = losses(&events);
    assert_eq!(
        (losses.len(), summary.steps, summary.skipped_steps),
        (12, 12, 0)
    );
    assert_eq!(summary.tokens, 12 * 4 * 12);
    assert!(losses[11] < losses[0], "{losses:?}");
    for ((key, before), (_, after)) in student().named_tensors().iter().zip(model.named_tensors()) {
        assert_eq!(*before == after, !key.contains(".mamba."), "{key}");
    }
    assert!(matches!(
        events[0],
        Event::Step {
            ce: Some(_),
            kl: Some(_),
            margin: None,
            ..
        }
    ));
    assert_eq!(losses, self::losses(&finished(StageKind::Distillation).2));
}

#[test]
fn alignment_lowers_the_error_and_changes_new_mixers_only() {
    let (model, summary, events) = finished(StageKind::Alignment);
    let losses = losses(&events);
    assert_eq!((losses.len(), summary.steps), (12, 12));
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    for ((key, before), (_, after)) in student().named_tensors().iter().zip(model.named_tensors()) {
        assert_eq!(*before == after, !key.contains(".mamba."), "{key}");
    }
    assert!(matches!(
        events[0],
        Event::Step {
            ce: None,
            kl: None,
            margin: None,
            ..
        }
    ));
}

#[test]
fn sft_trains_everything_with_accumulation() {
    let (model, summary, events) = finished(StageKind::Sft);
    assert_eq!((losses(&events).len(), summary.tokens), (6, 6 * 2 * 4 * 12));
    for ((key, before), (_, after)) in student().named_tensors().iter().zip(model.named_tensors()) {
        assert_ne!(*before, after, "{key}");
    }
    assert!(matches!(
        events[0],
        Event::Step {
            ce: Some(_),
            kl: None,
            ..
        }
    ));
}

#[test]
fn dpo_starts_at_the_reference_and_prefers_the_chosen() {
    let (_, _, events) = finished(StageKind::Dpo);
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step {
                loss,
                margin,
                accuracy,
                ..
            } => Some((*loss, (*margin)?, (*accuracy)?)),
            _ => None,
        })
        .collect();
    assert_eq!(steps.len(), 8);
    let (loss, margin, _) = steps[0];
    assert!(
        (loss - 2f64.ln()).abs() < 1e-5 && margin.abs() < 1e-5,
        "{steps:?}"
    );
    let (loss, margin, accuracy) = steps[7];
    assert!(
        loss < 2f64.ln() && margin > 0.0 && accuracy > 0.5,
        "{steps:?}"
    );
}

#[test]
fn packed_documents_learn_as_rows_of_their_own_and_leaking_ones_do_not() {
    let losses = |packing: Packing, seq_len: usize| {
        let mut plan = plan();
        // Eight examples of 12 tokens: every row is full, every step takes all.
        (plan.data.packing, plan.data.seq_len) = (packing, seq_len);
        for stage in plan.arms.iter_mut().flat_map(|arm| &mut arm.rungs) {
            for stage in &mut stage.stages {
                stage.batch_size = 8 * 12 / seq_len;
                stage.loss.kl_mask = KlMask::All;
            }
        }
        [StageKind::Distillation, StageKind::Sft].map(|kind| {
            let (outcome, events) = run_plan(&plan, kind, &StopFlag::new());
            let StageOutcome::Finished { summary, .. } = outcome else {
                panic!("nobody stopped it");
            };
            // Both stages take twelve micro-batches.
            assert_eq!(summary.tokens, 12 * 8 * 12);
            self::losses(&events)
        })
    };
    let alone = losses(Packing::None, 12);
    let packed = losses(Packing::Exact, 48);
    let leaking = losses(Packing::Published, 48);
    let difference =
        |left: &[f64], right: &[f64], step: usize| (left[step] / right[step] - 1.0).abs();
    for stage in 0..2 {
        let (alone, packed, leaking) = (&alone[stage], &packed[stage], &leaking[stage]);
        for step in 0..alone.len() {
            let apart = difference(packed, alone, step);
            assert!(apart < 1e-6, "step {step}: {packed:?} {alone:?}");
        }
        // The weights are small, so little leaks: 5e-5.
        assert!(
            difference(leaking, alone, 0) > 2e-5,
            "{leaking:?} {alone:?}"
        );
    }
}

#[test]
fn blocks_that_are_run_again_give_the_same_steps_to_the_bit() {
    for packing in [Packing::None, Packing::Exact] {
        let mut plan = plan();
        (plan.data.packing, plan.data.seq_len) = (packing, 24);
        let run = |kind, activation_checkpointing| {
            let plan = Plan {
                activation_checkpointing,
                ..plan.clone()
            };
            let (outcome, events) = run_plan(&plan, kind, &StopFlag::new());
            let StageOutcome::Finished { model, .. } = outcome else {
                panic!("nobody stopped it");
            };
            (model.named_tensors(), losses(&events))
        };
        for kind in [
            StageKind::Alignment,
            StageKind::Distillation,
            StageKind::Sft,
            StageKind::Dpo,
        ] {
            assert!(run(kind, true) == run(kind, false), "{kind:?}, {packing:?}");
        }
    }
}

#[test]
fn a_teacher_from_the_cache_teaches_what_it_said() {
    for packing in [Packing::None, Packing::Exact] {
        let mut plan = plan();
        (plan.data.packing, plan.data.seq_len) = (packing, 24);
        for stage in plan.arms.iter_mut().flat_map(|arm| &mut arm.rungs) {
            for stage in &mut stage.stages {
                stage.loss.kl_mask = KlMask::Labels;
                stage.loss.divergence = Divergence::TopK { k: 4 };
                stage.loss.kl_weight = 1.0;
            }
        }
        let run = |kind, cached: Option<usize>, micro_batch| {
            let plan = Plan {
                teacher_cache: cached.map(|k| TeacherCachePlan { k }),
                ..plan.clone()
            };
            let (_, events) = run_in(&plan, kind, micro_batch, &StopFlag::new());
            let has_read = |event: &Event| matches!(event, Event::Note { text } if text.starts_with("the teacher reads"));
            assert_eq!(events.iter().any(has_read), cached.is_some());
            losses(&events)
        };
        for kind in [StageKind::Distillation, StageKind::Sft] {
            let expected = run(kind, None, usize::MAX);
            for (k, micro_batch) in [(4, usize::MAX), (9, usize::MAX), (4, 1)] {
                let found = run(kind, Some(k), micro_batch);
                assert_ne!(found, expected, "log-probabilities of f16");
                for (found, expected) in found.iter().zip(&expected) {
                    let apart = (found / expected - 1.0).abs();
                    assert!(apart < 1e-3, "{kind:?}, {k}: {found} and {expected}");
                }
            }
        }
    }
}

#[test]
fn smaller_micro_batches_take_the_same_steps() {
    let mut plan = plan();
    // Lengths that differ: what is padded must not change.
    plan.data.pad_to = PadTo::Longest;
    for stage in plan.arms.iter_mut().flat_map(|arm| &mut arm.rungs) {
        for stage in &mut stage.stages {
            stage.loss.kl_mask = KlMask::All;
            stage.lr_peak = 1e-4;
        }
    }
    let losses = |kind, micro_batch| {
        let (outcome, events) = run_in(&plan, kind, micro_batch, &StopFlag::new());
        let StageOutcome::Finished { summary, .. } = outcome else {
            panic!("nobody stopped it");
        };
        (summary.tokens, self::losses(&events))
    };
    for (kind, whole) in [
        (StageKind::Alignment, 4),
        (StageKind::Distillation, 4),
        (StageKind::Sft, 4),
        (StageKind::Dpo, 2),
    ] {
        let (tokens, expected) = losses(kind, whole);
        for size in 1..whole {
            let (found_tokens, found) = losses(kind, size);
            assert_eq!((found_tokens, found.len()), (tokens, expected.len()));
            for (found, expected) in found.iter().zip(&expected) {
                let apart = (found / expected - 1.0).abs();
                assert!(apart < 1e-5, "{kind:?} by {size}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn a_stop_leaves_after_the_step() {
    let stop = StopFlag::new();
    stop.stop();
    let (outcome, events) = run(StageKind::Sft, &stop);
    assert!(matches!(outcome, StageOutcome::Interrupted));
    assert_eq!(losses(&events).len(), 1);
}

mod guards;
