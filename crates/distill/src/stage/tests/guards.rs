//! Stages with planted trouble.
use std::cell::RefCell;

use burn::backend::{Autodiff, Flex};

use super::super::distillation::{Conversations, Dealt};
use super::super::steps::{self, Examples, StepMetrics};
use super::*;
use crate::data::ExampleSet;
use crate::trainer::{MicroStep, Probe, StepReport};

/// Conversations whose loss is multiplied in some micro-batches, counted in the order in which they are dealt.
struct Planted<'a> {
    inner: Conversations<'a, Flex>,
    /// Factor of the loss by micro-batch.
    factor: fn(usize) -> f64,
    /// All micro-batches of a pass.
    pass: Vec<Vec<usize>>,
    dealt: RefCell<Vec<Vec<usize>>>,
}

impl Examples<Flex> for Planted<'_> {
    type Batch = (Dealt, f64);

    fn lengths(&self) -> Vec<usize> {
        self.inner.lengths()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> anyhow::Result<Vec<Self::Batch>> {
        self.dealt.borrow_mut().extend_from_slice(micro_batches);
        let factor = |batch: &Vec<usize>| {
            let number = self.pass.iter().position(|dealt| dealt == batch);
            (self.factor)(number.expect("the first pass is not over") + 1)
        };
        let factors: Vec<_> = micro_batches.iter().map(factor).collect();
        let batches = self.inner.collect(micro_batches)?;
        Ok(batches.into_iter().zip(factors).collect())
    }

    fn split(&self, (batch, factor): Self::Batch, size: usize) -> Vec<Self::Batch> {
        let parts = self.inner.split(batch, size).into_iter();
        parts.map(|part| (part, factor)).collect()
    }

    fn tokens(&self, (batch, _): &Self::Batch) -> usize {
        self.inner.tokens(batch)
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<Flex>>,
        step: &[Self::Batch],
        index: usize,
        probe: &Probe,
    ) -> MicroStep<Flex> {
        let (batch, factor) = &step[index];
        let mut micro_step = self
            .inner
            .forward(student, std::slice::from_ref(batch), 0, probe);
        micro_step.loss = micro_step.loss * *factor;
        micro_step
    }

    fn metrics(&self, report: &StepReport) -> StepMetrics {
        self.inner.metrics(report)
    }
}

struct Ended {
    outcome: anyhow::Result<StageOutcome<Flex>>,
    events: Vec<Event>,
    dealt: Vec<Vec<usize>>,
}

/// Runs distillation with one example a micro-batch, and asks to stop after so many steps.
fn run_planted(
    set: &[&str],
    factor: fn(usize) -> f64,
    dir: &std::path::Path,
    stop_after: Option<usize>,
) -> Ended {
    let set: Vec<String> = [
        "data.seq_len=16",
        "distillation.steps=16",
        "distillation.batch_size=1",
        "distillation.kl_weight=0.0",
        "distillation.warmup_steps=1",
        "checkpoint.every_steps=4",
        "guard.max_bad_steps=3",
        "guard.divergence_patience=3",
    ]
    .iter()
    .chain(set)
    .map(|text| (*text).to_owned())
    .collect();
    let recipe = Recipe::parse(default_recipe(None), "test", &set).expect("the recipe parses");
    let plan = Plan::resolve(&recipe, "test").expect("the plan resolves");
    let stage = plan.stages().next().expect("the plan has a stage");
    let (teacher, data, device) = (teacher::<Flex>(), Datasets::default(), Default::default());
    let tokenizer = Tokenizer::train_bpe(["a"], 260, &["<|im_end|>"]).expect("trains");
    let all = ExampleSet::from(examples(150));
    let lengths = all.lengths();
    let mut order = steps::order(stage, lengths);
    let origin = Origin {
        plan_sha256: "plan".into(),
        stage: stage.path(),
        parent_sha256: "parent".into(),
    };
    let checkpoints = StepCheckpoints::of(&dir.join("stage"), origin, plan.checkpoint);
    let stop = StopFlag::new();
    let mut events = Stopping {
        events: Vec::new(),
        stop: stop.clone(),
        stop_after,
    };
    let context = StageContext {
        plan: &plan,
        stage,
        teacher: &teacher,
        reference: None,
        tokenizer: &tokenizer,
        data: &data,
        events: &mut events,
        stop: &stop,
        device: &device,
        checkpoints: &checkpoints,
        micro_batch: stage.batch_size,
        teacher_caches: &TeacherCaches::default(),
    };
    let planted = Planted {
        inner: Conversations::new(&context, &all),
        factor,
        pass: (0..150).map(|_| order.next_batch()).collect(),
        dealt: RefCell::default(),
    };
    let outcome = steps::run(context, student(), &planted);
    let dealt = planted.dealt.into_inner();
    Ended {
        outcome,
        events: events.events,
        dealt,
    }
}

/// Collects events, and asks to stop after some steps.
struct Stopping {
    events: Vec<Event>,
    stop: StopFlag,
    stop_after: Option<usize>,
}

impl EventSink for Stopping {
    fn emit(&mut self, event: Event) {
        self.events.push(event);
        if Some(taken(&self.events)) == self.stop_after {
            self.stop.stop();
        }
    }
}

/// Steps taken, those left out included.
fn taken(events: &[Event]) -> usize {
    let is_step = |event: &&Event| matches!(event, Event::Step { .. } | Event::Skipped { .. });
    events.iter().filter(is_step).count()
}

fn rewinds(events: &[Event]) -> Vec<(usize, usize, usize)> {
    let rewound = |event: &Event| match event {
        Event::Rewound {
            step,
            to_step,
            rewind,
            ..
        } => Some((*step, *to_step, *rewind)),
        _ => None,
    };
    events.iter().filter_map(rewound).collect()
}

fn finished(ended: &Ended) -> (Vec<(String, burn::tensor::TensorData)>, StageSummary) {
    match ended.outcome.as_ref().expect("the stage runs") {
        StageOutcome::Finished { model, summary } => (model.named_tensors(), *summary),
        StageOutcome::Interrupted => panic!("nobody stopped it"),
    }
}

#[test]
fn a_batch_that_is_not_finite_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let nan = |number| if number == 6 { f64::NAN } else { 1.0 };
    let ended = run_planted(&[], nan, dir.path(), None);
    let (tensors, summary) = finished(&ended);
    assert_eq!((summary.steps, summary.skipped_steps), (15, 1));
    assert!(
        tensors
            .iter()
            .all(|(_, data)| data.iter::<f32>().all(f32::is_finite))
    );
    assert_eq!(rewinds(&ended.events), []);
    assert!(ended.events.iter().any(
        |event| matches!(event, Event::Skipped { step: 6, reason } if reason == "loss NaN, gradient norm NaN, first in the loss, after layers that are finite")
    ));
}

#[test]
fn trouble_rewinds_to_the_last_good_checkpoint_and_past_the_batches() {
    let nan: fn(usize) -> f64 = |number| {
        if (10..13).contains(&number) {
            f64::NAN
        } else {
            1.0
        }
    };
    let high: fn(usize) -> f64 = |number| {
        if (10..13).contains(&number) {
            50.0
        } else {
            1.0
        }
    };
    for factor in [nan, high] {
        let dir = tempfile::tempdir().unwrap();
        let whole = run_planted(&[], factor, dir.path(), None);
        assert_eq!(rewinds(&whole.events), [(12, 8, 1)]);
        let (tensors, summary) = finished(&whole);
        assert_eq!(summary.steps, 16);
        // No example is shown twice: 12 steps, then 8 more for those from 9 to 16.
        assert_eq!(whole.dealt.len(), 20);
        let mut once = whole.dealt.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 20);

        // Stopped in the middle of the trouble, and once more after the rewind.
        let dir = tempfile::tempdir().unwrap();
        let first = run_planted(&[], factor, dir.path(), Some(11));
        assert!(matches!(first.outcome, Ok(StageOutcome::Interrupted)));
        let second = run_planted(&[], factor, dir.path(), Some(5));
        assert!(matches!(second.outcome, Ok(StageOutcome::Interrupted)));
        let third = run_planted(&[], factor, dir.path(), None);
        assert!(tensors == finished(&third).0, "the weights differ");
        let all = [first.dealt, second.dealt, third.dealt].concat();
        assert_eq!(all, whole.dealt);
    }
}

#[test]
fn trouble_before_any_checkpoint_goes_back_to_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["checkpoint.every_steps=0"];
    let nan = |number| {
        if (4..7).contains(&number) {
            f64::NAN
        } else {
            1.0
        }
    };
    let ended = run_planted(&set, nan, dir.path(), None);
    assert_eq!(rewinds(&ended.events), [(6, 0, 1)]);
    assert_eq!((finished(&ended).1.steps, ended.dealt.len()), (16, 6 + 16));
    // The first loss after the rewind is that of the seventh batch under the student as it was: the same as without
    // a step before it.
    let dir = tempfile::tempdir().unwrap();
    let set = ["guard.max_bad_steps=7"];
    let nan = |number| if number < 7 { f64::NAN } else { 1.0 };
    let untouched = run_planted(&set, nan, dir.path(), None);
    assert_eq!(losses(&ended.events)[3], losses(&untouched.events)[0]);
}

#[test]
fn rewinds_are_bounded_and_the_error_names_stage_step_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    let nan = |number| if number > 6 { f64::NAN } else { 1.0 };
    let ended = run_planted(&["guard.max_rewinds=2"], nan, dir.path(), None);
    assert_eq!(rewinds(&ended.events), [(9, 4, 1), (7, 4, 2)]);
    let error = ended.outcome.err().expect("it cannot go on").to_string();
    assert_eq!(
        error,
        "stage `chain/50-distillation`, step 7: the loss is NaN and the gradient norm NaN, first in the loss, after \
         layers that are finite, 3 steps in a row; it was rewound 2 times (`guard.max_rewinds`): lower `distillation.lr_peak` or `distillation.clip_norm`, or lengthen \
         `distillation.warmup_steps`"
    );
}

#[test]
fn an_exploding_learning_rate_rewinds_and_is_given_up() {
    let run = |max_rewinds: usize| {
        let dir = tempfile::tempdir().unwrap();
        let set = [
            "distillation.steps=100",
            "distillation.warmup_steps=100",
            "distillation.lr_peak=10.0",
            "distillation.trainable=\"all\"",
            "guard.divergence_factor=2.0",
            &format!("guard.max_rewinds={max_rewinds}"),
        ];
        run_planted(&set, |_| 1.0, dir.path(), None)
    };
    let rewound = rewinds(&run(1).events);
    let (step, to_step, _) = rewound[0];
    assert!(to_step < step && to_step % 4 == 0, "{rewound:?}");
    let error = run(0).outcome.err().expect("it cannot go on").to_string();
    assert!(
        error.contains(&format!("step {step}: the loss")) && error.contains("x its median"),
        "{error}"
    );
}
