//! A plan run, resumed or described: what `sweep`, `ablate` and `reproduce` share.
use std::path::Path;

use anyhow::Context;
use eval::fidelity::Agreement;

use crate::ablation;
use crate::backend::{Device, InnerBackend};
use crate::cli::RunArgs;
use crate::commands::Outcome;
use crate::dashboard::{self, Display};
use crate::data::{self, Datasets};
use crate::error::DistillError;
use crate::evaluation::{Bench, EvaluationSettings, Gate, Kept, Subject, batch_limits, subjects};
use crate::recipe::{ArmPlan, Plan, PlanDifference};
use crate::run::{
    Event, EventLog, EventSink, Manifest, Requests, RunFolder, RunState, StopFlag, Tee,
    host_total_bytes,
};
use crate::sweep::{self, ModelWorkshop, Selection, SweepOutcome, SweepSetup, Teacher};
use crate::teacher_cache::{self, TeacherCaches};

impl RunArgs {
    /// Runs, resumes or describes a plan.
    ///
    /// # Errors
    /// An unreadable teacher or data file, a run folder that is in use or of another plan.
    pub(super) fn launch(self, plan: Plan, device: &Device) -> anyhow::Result<Outcome> {
        let stop = StopFlag::new();
        // The teacher before the folder: a wrong path leaves nothing behind.
        let teacher = Teacher::load(&plan.teacher, device)?.computing_in(plan.precision);
        sweep::check_ratios(&plan, teacher.model.n_layers())?;
        let selection = Selection::of(&plan, &self.arms)?;
        if self.dry_run {
            return describe(&selection.part(&plan), &teacher, device);
        }
        let run_dir = self.resume.as_deref().or(self.out.as_deref());
        let run_dir = run_dir.unwrap_or(Path::new("runs"));
        selection.check_parents(&plan, &RunFolder::state_of(run_dir)?, run_dir)?;
        let locks = selection.locks();
        let (folder, is_resumed) = match &self.resume {
            Some(path) => (RunFolder::open(path, &locks)?, true),
            None => {
                let folder = RunFolder::create(self.out.as_deref(), &plan.name, &locks)?;
                (folder, false)
            }
        };
        let manifest = Manifest::new(plan, teacher.sha256.clone());
        if is_resumed {
            check_teacher(&folder, &manifest)?;
        } else {
            folder.write_manifest(&manifest)?;
        }
        let requests = Requests::of(folder.path(), selection.names());
        requests.clear()?;
        let stop = stop.with_requests(requests.clone());
        stop.listen().context("could not listen for Ctrl-C")?;
        let run = Run {
            manifest: &manifest,
            selection: &selection,
            folder: &folder,
            teacher: &teacher,
            device,
            stop: &stop,
            is_resumed,
            auto_batch: self.auto_batch,
        };
        let display = Display::choose(self.no_tui, self.log_format);
        let outcome = dashboard::run_shown(display, folder.path(), &requests, &stop, |watcher| {
            let log = EventLog::open(folder.path(), selection.names())?;
            let mut events = Tee::new(log, stop.clone(), watcher);
            let result = work(&run, &mut events);
            if let Err(error) = &result {
                events.emit(Event::RunFailed {
                    message: format!("{error:#}"),
                });
            }
            result
        })?;
        finish(outcome, &run, display)
    }

    /// The plan to run: `written`, which is not asked for where a run is resumed and `is_bare`, nothing being said of it.
    ///
    /// # Errors
    /// As `written`; [`DistillError::PlanDiffers`] if it is not that of the run.
    pub(super) fn plan(
        &self,
        is_bare: bool,
        written: impl FnOnce() -> Result<Plan, DistillError>,
    ) -> Result<Plan, DistillError> {
        let Some(run) = &self.resume else {
            return written();
        };
        let resumed = RunFolder::manifest(run)?.plan;
        if is_bare {
            return Ok(resumed);
        }
        let plan = written()?;
        match resumed.differences(&plan).into_iter().next() {
            None => Ok(plan),
            Some(PlanDifference {
                path,
                run: was,
                other,
            }) => Err(DistillError::PlanDiffers {
                path: run.clone(),
                difference: format!("`{path}` is {was} in the run, {other} now"),
            }),
        }
    }
}

/// Prints the plan with its sizes.
#[expect(clippy::print_stdout, reason = "the result of the command")]
fn describe(
    plan: &Plan,
    teacher: &Teacher<InnerBackend>,
    device: &Device,
) -> anyhow::Result<Outcome> {
    let config = teacher.model.config();
    let rate = sweep::measure_flops_per_s::<InnerBackend>(device);
    print!("{}", sweep::describe(plan, config, rate)?);
    Ok(Outcome::Done)
}

/// Refuses to continue a run with other teacher weights.
fn check_teacher(folder: &RunFolder, now: &Manifest) -> Result<(), DistillError> {
    let then = RunFolder::manifest(folder.path())?;
    if then.teacher_sha256 == now.teacher_sha256 {
        return Ok(());
    }
    Err(DistillError::PlanDiffers {
        path: folder.path().into(),
        difference: format!(
            "the teacher's sha256 is {} in the run, {} now",
            then.teacher_sha256, now.teacher_sha256
        ),
    })
}

/// Makes the data and walks the ratios.
fn work(run: &Run, events: &mut Tee) -> anyhow::Result<SweepOutcome> {
    let Run {
        manifest,
        selection,
        folder,
        teacher,
        device,
        stop,
        auto_batch,
        ..
    } = run;
    let plan = &manifest.plan;
    events.emit(started(run));
    events.emit(Event::Device {
        name: format!("{device:?}"),
        peak_flops_per_s: sweep::measure_peak_flops_per_s::<InnerBackend>(device, plan.precision),
        host_total_bytes: host_total_bytes(),
    });
    let Some(data) = data(run, events)? else {
        events.emit(Event::RunInterrupted);
        return Ok(SweepOutcome::Interrupted);
    };
    let Some(teacher_caches) = teacher_caches(run, &data, events)? else {
        events.emit(Event::RunInterrupted);
        return Ok(SweepOutcome::Interrupted);
    };
    let mut workshop = ModelWorkshop {
        teacher,
        data: &data,
        teacher_caches: &teacher_caches,
        eval: plan.eval.clone(),
        device,
        prompts: None,
    };
    let setup = SweepSetup {
        plan,
        selection,
        folder,
        auto_batch: *auto_batch,
    };
    let outcome = sweep::run_sweep(setup, &mut workshop, events, stop)?;
    if let (SweepOutcome::Finished(_), Some(bar)) = (&outcome, plan.eval.gate) {
        hold_against(bar, run, &data, events)?;
    }
    Ok(outcome)
}

/// Holds the main arm against the bar of its recipe, once all of it is finished, and writes the result down.
fn hold_against(bar: f64, run: &Run, data: &Datasets, events: &mut Tee) -> anyhow::Result<()> {
    let (plan, folder) = (&run.manifest.plan, run.folder);
    let state = folder.state()?;
    if is_main_arm_open(plan, &state) {
        return Ok(());
    }
    let bench = Bench {
        settings: EvaluationSettings::default(),
        teacher: run.teacher,
        precision: plan.precision,
        held_out: &data.eval_perplexity,
        tasks: &[],
        generative: &[],
        limits: batch_limits(),
        kept: Kept::of_run(folder.path()),
        device: run.device,
    };
    let mut measured: Vec<(Subject, Vec<Agreement>)> = Vec::new();
    for subject in subjects(plan, &state, folder.path()) {
        if subject.is_result() {
            let found = bench.agreement(&subject)?;
            measured.push((subject, found));
        }
    }
    for text in bench.kept.notes() {
        events.emit(Event::Note { text });
    }
    if measured.is_empty() {
        // An ablation or drafters: no arm is the main one.
        return Ok(());
    }
    let results = measured.iter();
    let gate = Gate::of(results.map(|(subject, found)| (subject, &found[..])), bar);
    folder.write_sealed(Gate::FILE, &gate)?;
    sweep::write_report(plan, folder)?;
    Ok(())
}

/// Whether a stage of the main arm is not finished yet, whichever process is to run it.
fn is_main_arm_open(plan: &Plan, state: &RunState) -> bool {
    let mut stages = plan.stages().filter(|stage| stage.arm == ArmPlan::CHAIN);
    stages.any(|stage| {
        let done = state.find(&stage.arm, stage.attention_ratio, stage.kind);
        done.is_none()
    })
}

/// The data of the plan, made by one process and read by the others; `None` if it was stopped.
fn data(run: &Run, events: &mut Tee) -> anyhow::Result<Option<Datasets>> {
    let note = || {
        let text = "another process prepares the data: waiting for it".into();
        events.emit(Event::Note { text });
    };
    let Some(_lock) = run.folder.lock_data(run.stop, note)? else {
        return Ok(None);
    };
    data::build(
        &run.manifest.plan,
        &run.teacher.model,
        &run.teacher.tokenizer,
        run.folder.path(),
        events,
        run.stop,
    )
}

/// What the teacher says of the data, where the plan keeps it, written by one process and read by the others; `None` if it
/// was stopped.
fn teacher_caches(
    run: &Run,
    data: &Datasets,
    events: &mut Tee,
) -> anyhow::Result<Option<TeacherCaches>> {
    let plan = &run.manifest.plan;
    if plan.teacher_cache.is_none() {
        return Ok(Some(TeacherCaches::default()));
    }
    let note = || {
        let text = "another process writes the teacher cache: waiting for it".into();
        events.emit(Event::Note { text });
    };
    let Some(_lock) = run.folder.lock_data(run.stop, note)? else {
        return Ok(None);
    };
    TeacherCaches::of(plan, run.teacher, data, run.folder.path(), events, run.stop)
}

/// A sweep about to run.
struct Run<'a> {
    manifest: &'a Manifest,
    selection: &'a Selection,
    folder: &'a RunFolder,
    teacher: &'a Teacher<InnerBackend>,
    device: &'a Device,
    stop: &'a StopFlag,
    is_resumed: bool,
    auto_batch: bool,
}

fn started(run: &Run) -> Event {
    let plan = &run.manifest.plan;
    let part = run.selection.part(plan);
    let stages = part.stages().map(|stage| {
        (
            stage.arm.clone(),
            stage.attention_ratio,
            stage.kind,
            stage.steps,
        )
    });
    Event::RunStarted {
        name: plan.name.clone(),
        plan_sha256: run.manifest.plan_sha256.clone(),
        teacher: sweep::teacher_name(&plan.teacher),
        teacher_size: sweep::model_size(run.teacher.model.config()),
        backend: crate::backend::NAME.into(),
        stages: stages.collect(),
        is_resumed: run.is_resumed,
    }
}

/// Prints the table on stdout, or how to continue on stderr.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the result of the command"
)]
fn finish(outcome: SweepOutcome, run: &Run, display: Display) -> anyhow::Result<Outcome> {
    let say = |line: String| {
        // Whoever reads JSON finds nothing else there.
        if display != Display::Json {
            eprintln!("{line}");
        }
    };
    let path = run.folder.path().display();
    let arms: String = run
        .selection
        .names()
        .iter()
        .map(|name| format!(" --arm {name}"))
        .collect();
    match outcome {
        SweepOutcome::Finished(rows) => {
            match ablation::write(&run.manifest.plan, run.folder)? {
                Some(comparison) => print!("{}", ablation::text_report(&comparison)),
                None => println!("{}\n{}", sweep::text_table(&rows), sweep::LEGEND),
            }
            for line in teacher_cache::truncation_lines(run.folder.path())? {
                println!("{line}");
            }
            let plan = &run.manifest.plan;
            let state = run.folder.state()?;
            let gate = Gate::read(run.folder.path(), &state)?;
            for line in gate.iter().flat_map(Gate::lines) {
                println!("{line}");
            }
            say(format!(
                "checkpoints and log are in `{path}`; `distill report {path}` writes it up"
            ));
            let (done, all) = state.count(plan);
            if done < all {
                say(format!(
                    "{done} of {all} stages of the plan are finished; `distill report {path}` joins the arms"
                ));
            }
            if plan.eval.gate.is_some() && is_main_arm_open(plan, &state) {
                say(
                    "`eval.gate` waits for the other ratios: it is for the main arm as a whole"
                        .into(),
                );
            }
            gate.map_or(Ok(()), |gate| gate.check())?;
            Ok(Outcome::Done)
        }
        SweepOutcome::Interrupted => {
            say(format!(
                "interrupted; continue with `distill sweep --resume {path}{arms}`"
            ));
            Ok(Outcome::Interrupted)
        }
    }
}
