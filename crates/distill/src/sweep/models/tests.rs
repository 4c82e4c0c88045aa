//! Sweeps of real, tiny models: stopped and continued equals uninterrupted, bit for bit.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use burn::backend::Flex;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::data::PreferenceExample;
use crate::recipe::Recipe;
use crate::run::{Event, EventLog, EventSink, Manifest, RunFolder, StopFlag, Tee, TimedEvent};
use crate::sweep::{Selection, SweepOutcome, SweepRow, SweepSetup, run_sweep};
use crate::teacher_cache::TeacherCaches;
use crate::testing::{chat_tokenizer, examples, llama};

const RECIPE: &str = r#"
    name = "tiny"
    [teacher]
    path = "builtin:tiny"
    [student]
    mixer = "mamba2"
    [sweep]
    attention_ratios = [0.5, 0.0]
    stages = ["distillation", "sft", "dpo"]
    [data]
    source = "builtin:tiny"
    seq_len = 16
    [distillation]
    steps = 9
    batch_size = 3
    lr_peak = 0.01
    [sft]
    steps = 7
    batch_size = 2
    grad_accumulation = 2
    weight_decay = 0.1
    kl_weight = 0.5
    [dpo]
    steps = 6
    batch_size = 2
    lr_peak = 0.003
    [eval]
    speed_tokens = 1
    [checkpoint]
    every_steps = 4
"#;
/// Steps of the whole sweep.
const STEPS: usize = 2 * (9 + 7 + 6);

mod cramped;

struct Setup {
    plan: Plan,
    teacher: Teacher<Flex>,
    data: Datasets,
    dir: tempfile::TempDir,
    /// Sequences that the device has memory for.
    room: usize,
}

impl Setup {
    fn new() -> Self {
        Self::with(&[])
    }

    /// The plan with `--set` arguments.
    fn with(set: &[&str]) -> Self {
        let set: Vec<String> = set.iter().map(|set| (*set).into()).collect();
        let recipe = Recipe::parse(RECIPE, "test", &set).unwrap();
        let tokenizer = chat_tokenizer();
        let mut llama = llama();
        llama.vocab_size = tokenizer.vocab_size();
        let config = HybridConfig::teacher(llama);
        let pair = |index: usize| {
            let chosen = examples(7)[index].clone();
            let mut rejected = chosen.clone();
            rejected.ids[8..].reverse();
            PreferenceExample { chosen, rejected }
        };
        Self {
            plan: Plan::resolve(&recipe, "test").unwrap(),
            teacher: Teacher {
                model: HybridModel::init_seeded(&config, 5, &Default::default()),
                tokenizer,
                sha256: "teacher".into(),
            },
            data: Datasets {
                distillation: examples(11).into(),
                sft: examples(9).into(),
                dpo: (0..7).map(pair).collect::<Vec<_>>().into(),
                eval_perplexity: examples(3),
                eval_tasks: Vec::new(),
            },
            dir: tempfile::tempdir().unwrap(),
            room: usize::MAX,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn folder(&self, name: &str) -> RunFolder {
        let path = self.path(name);
        if path.join(Manifest::FILE).exists() {
            return RunFolder::open(&path, &[]).unwrap();
        }
        let folder = RunFolder::create(Some(&path), "tiny", &[]).unwrap();
        let manifest = Manifest::new(self.plan.clone(), self.teacher.sha256.clone());
        folder.write_manifest(&manifest).unwrap();
        folder
    }

    /// Runs what is left of the sweep in the folder; `at_step` is told the number of each step taken, over all calls.
    fn run(
        &self,
        name: &str,
        events: &mut Vec<Event>,
        at_step: impl Fn(usize, &StopFlag),
    ) -> SweepOutcome {
        let mut taken = steps(events).len();
        self.run_until(name, events, |event, stop| {
            if matches!(event, Event::Step { .. }) {
                taken += 1;
                at_step(taken, stop);
            }
        })
    }

    /// Runs what is left of the sweep in the folder; `at_event` is told each event.
    fn run_until(
        &self,
        name: &str,
        events: &mut Vec<Event>,
        mut at_event: impl FnMut(&Event, &StopFlag),
    ) -> SweepOutcome {
        let folder = self.folder(name);
        let stop = StopFlag::new();
        let mut watcher = |event: &TimedEvent| {
            events.push(event.event.clone());
            at_event(&event.event, &stop);
        };
        let log = EventLog::open(folder.path(), &[]).unwrap();
        let mut tee = Tee::new(log, stop.clone(), &mut watcher);
        let (plan, data) = (&self.plan, &self.data);
        let caches =
            TeacherCaches::of(plan, &self.teacher, data, folder.path(), &mut tee, &stop).unwrap();
        let Some(caches) = caches else {
            return SweepOutcome::Interrupted;
        };
        let workshop = ModelWorkshop {
            teacher: &self.teacher,
            data: &self.data,
            teacher_caches: &caches,
            eval: self.plan.eval.clone(),
            device: &Default::default(),
            prompts: None,
        };
        let setup = SweepSetup {
            plan: &self.plan,
            selection: &Selection::default(),
            folder: &folder,
            auto_batch: true,
        };
        let mut workshop = cramped::Cramped {
            inner: workshop,
            room: self.room,
        };
        run_sweep(setup, &mut workshop, &mut tee, &stop).unwrap()
    }

    /// Every file of the finished checkpoints.
    fn checkpoints(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for stage in self.plan.stages() {
            let folder = PathBuf::from("checkpoints").join(stage.path());
            for file in ["model.safetensors", "mamba_config.json"] {
                let file = folder.join(file);
                let bytes = std::fs::read(self.path(name).join(&file)).unwrap();
                files.push((file, bytes));
            }
        }
        files
    }
}

/// The step events with everything that does not depend on a clock.
fn steps(events: &[Event]) -> Vec<Event> {
    let untimed = |event: &Event| {
        let mut event = event.clone();
        match &mut event {
            Event::Step { tokens_per_s, .. } => *tokens_per_s = 0.0,
            _ => return None,
        }
        Some(event)
    };
    events.iter().filter_map(untimed).collect()
}

/// The table without the speeds, as it stands in `report.json`.
fn table(outcome: SweepOutcome) -> String {
    let SweepOutcome::Finished(rows) = outcome else {
        panic!("it was not stopped")
    };
    let untimed = |row: SweepRow| SweepRow {
        tokens_per_s: None,
        ..row
    };
    let rows: Vec<_> = rows.into_iter().map(untimed).collect();
    serde_json::to_string_pretty(&rows).unwrap()
}

#[test]
fn twenty_interruptions_change_no_bit() {
    let setup = Setup::new();
    let mut expected = Vec::new();
    let expected_table = table(setup.run("whole", &mut expected, |_, _| {}));
    assert_eq!(steps(&expected).len(), STEPS);

    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut at: Vec<usize> = sample(&mut rng, STEPS, 20)
        .iter()
        .map(|at| at + 1)
        .collect();
    at.sort_unstable();
    let mut events = Vec::new();
    for stop_at in &at {
        let outcome = setup.run("stopped", &mut events, |step, stop| {
            if step == *stop_at {
                stop.stop();
            }
        });
        assert_eq!(outcome, SweepOutcome::Interrupted, "{stop_at}");
        assert_eq!(steps(&events).len(), *stop_at, "no step is taken twice");
    }
    let found_table = table(setup.run("stopped", &mut events, |_, _| {}));
    let continued = events.iter().filter(
        |event| matches!(event, Event::Note { text } if text.starts_with("continuing after step")),
    );
    assert_eq!(continued.count(), 20);
    assert_eq!(steps(&events), steps(&expected));
    assert_eq!(found_table, expected_table);
    for (found, expected) in setup
        .checkpoints("stopped")
        .iter()
        .zip(setup.checkpoints("whole"))
    {
        assert!(*found == expected, "{} differs", found.0.display());
    }
    let left = std::fs::read_dir(setup.path("stopped/checkpoints/chain")).unwrap();
    assert_eq!(
        left.count(),
        6,
        "checkpoints within a stage go when it is finished"
    );
}

#[test]
fn a_ranking_of_layers_is_continued_and_decides_what_is_kept() {
    let set = [
        "student.layout=kl-guided",
        "layer_choice.steps=6",
        "alignment.batch_size=3",
        "sweep.attention_ratios=[0.5]",
        "sweep.stages=[\"distillation\"]",
    ];
    let setup = Setup::with(&set);
    let run = |name: &str, stop_at_round: Option<usize>| {
        let mut events = Vec::new();
        let outcome = setup.run_until(name, &mut events, |event, stop| {
            let is_round = |round: usize| {
                matches!(event, Event::Note { text } if text.ends_with(&format!("({round} of 2)")))
            };
            if stop_at_round.is_some_and(is_round) {
                stop.stop();
            }
        });
        (outcome, events)
    };
    let (outcome, _) = run("whole", None);
    let expected = table(outcome);
    let whole = setup.folder("whole").state().unwrap();
    let [ranking] = &whole.layer_rankings[..] else {
        panic!("one arm")
    };
    let rounds: Vec<usize> = ranking.rounds.iter().map(|round| round.kl.len()).collect();
    assert_eq!(rounds, [2, 1]);
    // The student keeps the layer that came first.
    let folder = setup.path("whole/checkpoints/chain/50-distillation");
    let student: HybridModel<Flex> = model::load(&folder, &Default::default()).unwrap().model;
    assert_eq!(student.config().attn_layers, [ranking.order()[0]]);

    assert_eq!(run("stopped", Some(1)).0, SweepOutcome::Interrupted);
    let known = setup.folder("stopped").state().unwrap();
    assert_eq!(known.layer_rankings[0].rounds, ranking.rounds[..1]);
    let (outcome, events) = run("stopped", None);
    assert_eq!(table(outcome), expected);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Note { text } if text.contains("(1 of 2)")))
    );
    let stopped = setup.folder("stopped").state().unwrap();
    assert_eq!(stopped.layer_rankings, whole.layer_rankings);
    assert!(setup.checkpoints("stopped") == setup.checkpoints("whole"));
}

/// The device has no memory for the fifth step of every stage with more than one sequence at once.
#[test]
fn a_stage_goes_on_in_smaller_micro_batches_and_so_does_its_resumption() {
    let mut setup = Setup::new();
    let mut planned = Vec::new();
    setup.run("roomy", &mut planned, |_, _| {});
    setup.room = 1;
    let mut expected = Vec::new();
    let expected_table = table(setup.run("cramped", &mut expected, |_, _| {}));
    let of_stage = |events: &[Event]| -> Vec<(usize, f64)> {
        let step = |event: &Event| match event {
            Event::Step { step, loss, .. } => Some((*step, *loss)),
            _ => None,
        };
        events.iter().filter_map(step).take(9 + 6).collect()
    };
    let (roomy, cramped) = (of_stage(&planned), of_stage(&expected));
    // Four steps as planned, then from the checkpoint after them: three at once, two, and one.
    assert_eq!(cramped[..4], roomy[..4]);
    let numbers: Vec<_> = cramped.iter().map(|(step, _)| *step).collect();
    assert_eq!(numbers[..9], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for ((_, found), (_, expected)) in cramped[4..9].iter().zip(&roomy[4..9]) {
        assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
    }
    assert_eq!(
        setup.folder("cramped").state().unwrap().micro_batches.len(),
        6
    );

    let mut events = Vec::new();
    for stop_at in [2, 4, 6, 9, 13, 15, 20, 30, 41] {
        setup.run("stopped", &mut events, |step, stop| {
            if step == stop_at {
                stop.stop();
            }
        });
    }
    let found_table = table(setup.run("stopped", &mut events, |_, _| {}));
    assert_eq!(found_table, expected_table);
    assert!(steps(&events) == steps(&expected));
    assert!(setup.checkpoints("stopped") == setup.checkpoints("cramped"));
}

/// Without a chance to save anything, and with the newest checkpoint damaged.
#[test]
fn a_crash_costs_the_steps_since_the_last_whole_checkpoint() {
    let setup = Setup::new();
    let mut expected = Vec::new();
    setup.run("whole", &mut expected, |_, _| {});
    let expected = steps(&expected);

    let mut events = Vec::new();
    let crashed = catch_unwind(AssertUnwindSafe(|| {
        setup.run("crashed", &mut events, |step, _| {
            assert!(step != 9, "planted")
        });
    }));
    assert!(crashed.is_err());
    let damaged = "crashed/checkpoints/chain/50-distillation.steps/step-000008/state.safetensors";
    std::fs::write(setup.path(damaged), "torn").unwrap();
    assert_eq!(steps(&events), expected[..9]);

    let mut events = Vec::new();
    setup.run("crashed", &mut events, |_, _| {});
    let notes: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Note { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        notes[0].starts_with("not used: ") && notes[0].contains(damaged),
        "{notes:?}"
    );
    assert!(
        notes[1].starts_with("continuing after step 4 of 9"),
        "{notes:?}"
    );
    assert_eq!(steps(&events), expected[4..]);
    assert!(setup.checkpoints("crashed") == setup.checkpoints("whole"));
}
