//! The order of a sweep, with lists of words in place of models.
use std::path::Path;

use super::*;
use crate::dashboard::percent;
use crate::recipe::Recipe;
use crate::run::{EventLog, LayerRanking, RankingRound, Sample, TimedEvent};

/// A model is the list of what was done to it.
type Words = Vec<String>;

#[derive(Default)]
struct Fake {
    trained: Vec<String>,
    parents: Vec<String>,
    stop_in: Option<(StageKind, f64)>,
    fail_in: Option<StageKind>,
    /// Most sequences that the device has memory for.
    room: Option<usize>,
    /// Sequences computed at once in each attempt.
    tried: Vec<usize>,
    /// Changes of the plan.
    set: &'static [&'static str],
    /// Layers ranked by this workshop.
    measured: Vec<usize>,
    /// Rounds of ranking after which it is stopped.
    stop_after_rounds: Option<usize>,
    /// Whether it runs without `--auto-batch`.
    is_plain: bool,
}

impl Workshop for Fake {
    type Model = Words;

    fn init_sha256(&self) -> String {
        "init's".into()
    }

    fn init_model(&mut self) -> anyhow::Result<Words> {
        Ok(vec!["init".into()])
    }

    fn convert(&mut self, from: &Words, arm: &ArmPlan, ratio: f64) -> anyhow::Result<Words> {
        let mut to = from.clone();
        let order = &arm.student.attn_layers;
        let layers = if order.is_empty() {
            String::new()
        } else {
            format!("{order:?}")
        };
        to.push(format!("{:?}:{}{layers}", arm.init, percent(ratio)));
        Ok(to)
    }

    fn rank_layers(&mut self, ranking: Ranking) -> anyhow::Result<Option<LayerRanking>> {
        let mut known = ranking.known;
        for replaced in [2, 0, 1, 3].into_iter().skip(known.rounds.len()) {
            self.measured.push(replaced);
            known.rounds.push(RankingRound {
                replaced,
                kl: vec![(replaced, 0.5)],
            });
            (ranking.keep)(&known)?;
            if self.stop_after_rounds == Some(known.rounds.len()) {
                ranking.stop.stop();
                return Ok(None);
            }
        }
        Ok(Some(known))
    }

    fn train(
        &mut self,
        Training {
            stage,
            stop,
            parent_sha256,
            micro_batch,
            ..
        }: Training,
        mut student: Words,
    ) -> anyhow::Result<Option<Words>> {
        self.parents.push(parent_sha256.into());
        if self.fail_in == Some(stage.kind) {
            anyhow::bail!("loss is not finite");
        }
        self.tried.push(micro_batch);
        if self.room.is_some_and(|room| micro_batch > room) {
            return Err(DistillError::OutOfMemory {
                stage: stage.path(),
                wanted: "3 MiB".into(),
                table: stage.kind.name(),
                batch_size: micro_batch,
                seq_len: 64,
                cure: String::new(),
            }
            .into());
        }
        if self.stop_in == Some((stage.kind, stage.attention_ratio)) {
            stop.stop();
            return Ok(None);
        }
        student.push(stage.kind.name().into());
        self.trained.push(student.join(" "));
        Ok(Some(student))
    }

    fn measure(&mut self, model: &Words, with_speed: bool) -> anyhow::Result<Scores> {
        Ok(Scores {
            perplexity: model.len() as f64,
            tasks: vec![("recall".into(), 0.5)],
            tokens_per_s: with_speed.then_some(10.0),
            state_bytes: 1024,
            attn_layers: 4,
        })
    }

    fn samples(&mut self, model: &Words) -> anyhow::Result<Vec<Sample>> {
        Ok(vec![Sample {
            prompt: "why".into(),
            teacher: "because".into(),
            student: model.join(" "),
        }])
    }

    fn measure_teacher(&mut self) -> anyhow::Result<Scores> {
        self.measure(&vec!["a".into(), "b".into()], true)
    }

    fn save(
        &mut self,
        model: &Words,
        _: &StagePlan,
        _: &str,
        folder: &Path,
    ) -> anyhow::Result<String> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("model.safetensors"), model.join(" "))?;
        self.saved_sha256(folder)
    }

    fn saved_sha256(&mut self, folder: &Path) -> anyhow::Result<String> {
        Ok(model::load::folder_sha256(folder)?)
    }

    fn load(&mut self, folder: &Path) -> anyhow::Result<Words> {
        let text = std::fs::read_to_string(folder.join("model.safetensors"))?;
        Ok(text.split(' ').map(Into::into).collect())
    }
}

fn plan() -> Plan {
    plan_with(&[])
}

/// The plan with `--set` arguments.
fn plan_with(set: &[&str]) -> Plan {
    let set: Vec<String> = set.iter().map(|set| (*set).into()).collect();
    let text = r#"
        name = "fake"
        [teacher]
        path = "builtin:tiny"
        [student]
        mixer = "mamba2"
        [sweep]
        attention_ratios = [0.5, 0.25]
        stages = ["distillation", "sft", "dpo"]
        controls = [{ init = "random-mixer", attention_ratios = [0.5, 0.0] }]
        [data]
        source = "builtin:tiny"
        seq_len = 64
    "#;
    Plan::resolve(
        &Recipe::parse(text, "fake.toml", &set).unwrap(),
        "fake.toml",
    )
    .unwrap()
}

fn run(folder: &RunFolder, fake: &mut Fake) -> (anyhow::Result<SweepOutcome>, Vec<Event>) {
    run_arms(folder, fake, &[])
}

fn run_arms(
    folder: &RunFolder,
    fake: &mut Fake,
    names: &[&str],
) -> (anyhow::Result<SweepOutcome>, Vec<Event>) {
    let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
    let plan = plan_with(fake.set);
    let selection = Selection::of(&plan, &names).unwrap();
    let mut events = Vec::new();
    let mut watcher = |event: &TimedEvent| events.push(event.event.clone());
    let stop = StopFlag::new();
    let mut tee = Tee::new(
        EventLog::open(folder.path(), &[]).unwrap(),
        stop.clone(),
        &mut watcher,
    );
    let setup = SweepSetup {
        plan: &plan,
        selection: &selection,
        folder,
        auto_batch: !fake.is_plain,
    };
    let outcome = run_sweep(setup, fake, &mut tee, &stop);
    (outcome, events)
}

fn fresh() -> (tempfile::TempDir, RunFolder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(Some(&dir.path().join("run")), "fake", &[]).unwrap();
    (dir, folder)
}

#[test]
fn ratios_chain_through_sft_and_controls_start_afresh() {
    let (_dir, folder) = fresh();
    let mut fake = Fake::default();
    let (outcome, events) = run(&folder, &mut fake);
    assert_eq!(
        fake.trained,
        [
            "init Attention:50 distillation",
            "init Attention:50 distillation sft",
            "init Attention:50 distillation sft dpo",
            // From SFT, not from DPO.
            "init Attention:50 distillation sft Attention:25 distillation",
            "init Attention:50 distillation sft Attention:25 distillation sft",
            "init Attention:50 distillation sft Attention:25 distillation sft dpo",
            "init RandomMixer:50 distillation",
            "init RandomMixer:0 distillation",
        ]
    );
    let hash = |stage| {
        let done = folder.state().unwrap();
        done.find("chain", 0.5, stage).unwrap().sha256.clone()
    };
    let (distilled, tuned) = (hash(StageKind::Distillation), hash(StageKind::Sft));
    let init = || "init's".to_string();
    assert_eq!(fake.parents[..4], [init(), distilled, tuned.clone(), tuned]);
    assert_eq!(fake.parents[6..], [init(), init()]);
    let SweepOutcome::Finished(rows) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    let labels: Vec<_> = rows
        .iter()
        .map(|row| (row.arm.as_str(), row.attention_ratio))
        .collect();
    assert_eq!(
        labels,
        [
            ("teacher", 1.0),
            ("chain", 0.5),
            ("chain", 0.25),
            // The chain's first ratio after distillation alone, beside its control.
            ("chain", 0.5),
            ("control-random-mixer", 0.5),
            ("control-random-mixer", 0.0),
        ]
    );
    // 3 words against the teacher's 2, then 4, then 5.
    assert_eq!(
        (rows[1].distillation, rows[1].sft, rows[1].dpo),
        (Some(1.5), Some(2.0), Some(2.5))
    );
    assert_eq!((rows[3].distillation, rows[3].sft), (Some(1.5), None));
    assert_eq!(rows[1].tokens_per_s, Some(10.0));
    assert!(matches!(events.last(), Some(Event::RunFinished { .. })));
    assert!(folder.path().join("report.json").is_file());
    assert!(folder.path().join("report.md").is_file());
}

#[test]
fn resumed_sweep_equals_an_uninterrupted_one() {
    let (_dir, whole) = fresh();
    let (outcome, _) = run(&whole, &mut Fake::default());
    let SweepOutcome::Finished(expected) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    for kind in [StageKind::Distillation, StageKind::Sft, StageKind::Dpo] {
        for ratio in [0.5, 0.25] {
            let (_dir, folder) = fresh();
            let mut first = Fake {
                stop_in: Some((kind, ratio)),
                ..Fake::default()
            };
            let (outcome, events) = run(&folder, &mut first);
            assert_eq!(outcome.unwrap(), SweepOutcome::Interrupted);
            assert_eq!(events.last(), Some(&Event::RunInterrupted));
            let mut second = Fake::default();
            let (outcome, _) = run(&folder, &mut second);
            assert_eq!(outcome.unwrap(), SweepOutcome::Finished(expected.clone()));
            assert_eq!(
                first.trained.len() + second.trained.len(),
                8,
                "{kind:?} {ratio}"
            );
            let read = |folder: &RunFolder| {
                std::fs::read(
                    folder
                        .path()
                        .join("checkpoints/chain/25-dpo/model.safetensors"),
                )
                .unwrap()
            };
            assert_eq!(read(&folder), read(&whole));
        }
    }
}

#[test]
fn changed_checkpoint_is_refused() {
    let (_dir, folder) = fresh();
    run(
        &folder,
        &mut Fake {
            stop_in: Some((StageKind::Sft, 0.25)),
            ..Fake::default()
        },
    )
    .0
    .unwrap();
    let checkpoint = folder.path().join("checkpoints/chain/50-sft");
    let weights = checkpoint.join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, "init something else").unwrap();
    let error = run(&folder, &mut Fake::default()).0.unwrap_err();
    let error = error.downcast_ref::<DistillError>().unwrap();
    assert!(
        matches!(error, DistillError::CheckpointHash { .. }),
        "{error}"
    );

    // The cure: the stage alone is run again, and what came after it still stands.
    let hint = error.hint().unwrap();
    let named = format!("`{}`", checkpoint.display());
    assert!(hint.contains(&named), "{hint}");
    std::fs::rename(&checkpoint, folder.path().join("damaged")).unwrap();
    let mut fake = Fake::default();
    run(&folder, &mut fake).0.unwrap();
    assert_eq!(fake.trained[0], "init Attention:50 distillation sft");
    assert!(
        !fake
            .trained
            .contains(&"init Attention:50 distillation".into())
    );
    assert_eq!(std::fs::read(&weights).unwrap(), whole);
    let state = folder.state().unwrap();
    let again = |done: &&FinishedStage| done.checkpoint.ends_with("chain/50-sft");
    assert_eq!(state.finished.iter().filter(again).count(), 1);
}

#[test]
fn failure_keeps_finished_stages() {
    let (_dir, folder) = fresh();
    let (outcome, _) = run(
        &folder,
        &mut Fake {
            fail_in: Some(StageKind::Dpo),
            ..Fake::default()
        },
    );
    assert_eq!(outcome.unwrap_err().to_string(), "loss is not finite");
    assert_eq!(folder.state().unwrap().finished.len(), 2);
    assert!(!folder.path().join("report.json").exists());
}

#[test]
fn layers_are_ranked_once_for_students_that_are_alike_and_from_where_it_stopped() {
    let set = &["student.layout=kl-guided"];
    let (_dir, folder) = fresh();
    let mut first = Fake {
        set,
        stop_after_rounds: Some(3),
        ..Fake::default()
    };
    let (outcome, _) = run(&folder, &mut first);
    assert_eq!(outcome.unwrap(), SweepOutcome::Interrupted);
    assert_eq!((first.measured, first.trained), (vec![2, 0, 1], vec![]));
    let mut second = Fake {
        set,
        ..Fake::default()
    };
    let (outcome, events) = run(&folder, &mut second);
    outcome.unwrap();
    // The rest for attention, then all of it for the random mixers.
    assert_eq!(second.measured, [3, 2, 0, 1, 3]);
    assert_eq!(
        second.trained[0],
        "init Attention:50[3, 1, 0, 2] distillation"
    );
    assert!(second.trained[7].starts_with("init RandomMixer:0[3, 1, 0, 2]"));
    let notes = events.iter().filter(|event| {
        matches!(event, Event::Note { text } if text.ends_with("needs attention most: [3, 1, 0, 2]"))
    });
    assert_eq!(notes.count(), 2);
    let rankings = folder.state().unwrap().layer_rankings;
    assert_eq!(rankings.len(), 2);
    assert_eq!(rankings[1].rounds[0].kl, [(2, 0.5)]);
    // Nothing is left to do.
    let mut third = Fake {
        set,
        ..Fake::default()
    };
    run(&folder, &mut third).0.unwrap();
    assert_eq!((third.measured, third.trained), (vec![], vec![]));
}

#[test]
fn micro_batches_are_halved_until_they_fit_and_resume_knows() {
    let cramped = |room| Fake {
        room: Some(room),
        stop_in: Some((StageKind::Sft, 0.5)),
        ..Fake::default()
    };
    let (_dir, folder) = fresh();
    let mut first = cramped(3);
    let (outcome, events) = run(&folder, &mut first);
    assert_eq!(outcome.unwrap(), SweepOutcome::Interrupted);
    // Eight in the plan for distillation and SFT.
    assert_eq!(first.tried, [8, 4, 2, 8, 4, 2]);
    let notes = events.iter().filter(|event| {
        matches!(event, Event::Note { text } if text.contains("4 micro-batches of at most 2"))
    });
    assert_eq!(notes.count(), 2);
    // What was learned is used without being asked for again; what is new fails.
    let mut second = Fake {
        stop_in: None,
        is_plain: true,
        ..cramped(3)
    };
    let error = run(&folder, &mut second).0.unwrap_err();
    assert_eq!(second.tried, [2, 4], "SFT, then DPO at its four pairs");
    let error: &DistillError = error.downcast_ref().unwrap();
    assert!(matches!(
        error,
        DistillError::OutOfMemory { batch_size: 4, .. }
    ));
    // One sequence is the least.
    let (_dir, folder) = fresh();
    let mut never = cramped(0);
    run(&folder, &mut never).0.unwrap_err();
    assert_eq!(never.tried, [8, 4, 2, 1]);
}

#[test]
fn arms_one_by_one_make_the_same_table() {
    let (_dir, whole) = fresh();
    let mut fake = Fake::default();
    let SweepOutcome::Finished(expected) = run(&whole, &mut fake).0.unwrap() else {
        panic!("nobody stopped it")
    };
    let (_dir, folder) = fresh();
    let mut trained = Vec::new();
    let mut last = None;
    for names in [
        &["control-random-mixer/0"][..],
        &["50"],
        &["control-random-mixer"],
        &["25", "50"],
    ] {
        let mut fake = Fake::default();
        last = Some(run_arms(&folder, &mut fake, names).0.unwrap());
        trained.extend(fake.trained);
    }
    assert_eq!(last, Some(SweepOutcome::Finished(expected)));
    trained.sort();
    fake.trained.sort();
    assert_eq!(trained, fake.trained, "nothing twice, nothing left out");
}

#[test]
fn an_arm_without_its_parent_is_refused() {
    let (_dir, folder) = fresh();
    let error = run_arms(&folder, &mut Fake::default(), &["25"])
        .0
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("arm `25` starts from `checkpoints/chain/50-sft`"),
        "{text}"
    );
    let hint = error.downcast_ref::<DistillError>().unwrap().hint();
    assert!(hint.unwrap().contains("--arm 50"));

    let error = Selection::of(&plan(), &["75".into()]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`50`, `25`, `control-random-mixer`,"),
        "{error}"
    );
}
