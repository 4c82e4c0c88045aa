//! Ratio after ratio, each from the last: the order of a sweep and its resumption.
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::report::{SweepRow, rows};
use super::selection::{Selection, finished_parent};
use super::{Ranking, Training, Workshop};
use crate::checkpoint;
use crate::error::DistillError;
use crate::evaluation::Gate;
use crate::recipe::{ArmPlan, Plan, RungPlan, StageKind, StagePlan};
use crate::run::{Event, EventSink, FinishedStage, RunFolder, RunState, Scores, StopFlag, Tee};
use crate::teacher_cache::truncation_lines;

/// How a sweep ended when nothing failed.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepOutcome {
    /// Every selected stage is done; the table of what the run folder holds.
    Finished(Vec<SweepRow>),
    /// Stopped by the user; finished stages are on disk.
    Interrupted,
}

/// A sweep about to run.
#[derive(Clone, Copy)]
pub struct SweepSetup<'a> {
    /// What there is to do.
    pub plan: &'a Plan,
    /// Which part of it this process does.
    pub selection: &'a Selection,
    /// Where it is kept.
    pub folder: &'a RunFolder,
    /// Whether a stage that the device has no memory for goes on in smaller micro-batches.
    pub auto_batch: bool,
}

/// Runs every selected stage of the plan that the run folder does not hold yet.
///
/// The main arm is a chain: a ratio starts from the model that the ratio before left after its last stage but DPO
/// (method, section 4.1), all tensors carried forward. Each ratio of a control arm starts from the init model.
///
/// # Errors
/// Whatever a stage, a measure or the disk says; finished stages stay.
pub fn run_sweep<W: Workshop>(
    setup: SweepSetup,
    workshop: &mut W,
    events: &mut Tee,
    stop: &StopFlag,
) -> anyhow::Result<SweepOutcome> {
    let SweepSetup { plan, folder, .. } = setup;
    let mut sweep = Sweep {
        setup,
        workshop,
        events,
        stop,
        state: folder.state()?,
    };
    if !sweep.run()? {
        // A log that cannot be written stops the run too, and is the better thing to report.
        sweep.events.check()?;
        sweep.events.emit(Event::RunInterrupted);
        return Ok(SweepOutcome::Interrupted);
    }
    let rows = write_report(plan, folder)?;
    events.emit(Event::RunFinished { rows: rows.clone() });
    events.check()?;
    Ok(SweepOutcome::Finished(rows))
}

/// Writes `report.json` and `report.md` of what a run folder holds, and returns the rows of the table.
///
/// # Errors
/// [`DistillError::Io`](crate::DistillError::Io) or [`DistillError::Malformed`](crate::DistillError::Malformed).
pub fn write_report(plan: &Plan, folder: &RunFolder) -> Result<Vec<SweepRow>, crate::DistillError> {
    let mut table = Vec::new();
    // While no other process records anything, so that the last report has everything.
    folder.update_state(|state| {
        table = rows(plan, state);
        folder.write_json("report.json", &table)?;
        let mut page = super::markdown_report(plan, &table);
        for line in truncation_lines(folder.path())? {
            page += &format!("\n{line}.\n");
        }
        if let Some(gate) = Gate::read(folder.path(), state)? {
            for line in gate.lines() {
                page += &format!("\n- {line}");
            }
            page += "\n";
        }
        Ok(model::files::write(
            &folder.path().join("report.md"),
            page.as_bytes(),
        )?)
    })?;
    Ok(table)
}

/// A model that may still be on disk.
#[derive(Clone)]
enum Place<M> {
    Init,
    Saved(PathBuf),
    Live(M),
}

/// A model, and the hash of the weights that it is or, untrained since, was made from.
#[derive(Clone)]
struct Source<M> {
    place: Place<M>,
    sha256: String,
}

/// A student that may still have to be made.
#[derive(Clone)]
enum Student<M> {
    ToConvert(Source<M>),
    Ready(Source<M>),
}

struct Sweep<'a, 'b, W> {
    setup: SweepSetup<'a>,
    workshop: &'a mut W,
    events: &'a mut Tee<'b>,
    stop: &'a StopFlag,
    state: RunState,
}

impl<W: Workshop> Sweep<'_, '_, W> {
    /// Returns whether everything was done.
    fn run(&mut self) -> anyhow::Result<bool> {
        let plan = self.setup.plan;
        self.measure_teacher()?;
        for arm in &plan.arms {
            if !arm
                .rungs
                .iter()
                .any(|rung| self.setup.selection.has(arm, rung))
            {
                continue;
            }
            let Some(arm) = &self.with_layers(arm)? else {
                return Ok(false);
            };
            let init = Source {
                place: Place::Init,
                sha256: self.workshop.init_sha256(),
            };
            let mut base = None;
            for (index, rung) in arm.rungs.iter().enumerate() {
                let carried = base.take();
                if !self.setup.selection.has(arm, rung) {
                    continue;
                }
                let from = match carried {
                    Some(carried) => carried,
                    None if index > 0 && arm.is_chained => self.parent(arm, index, &init)?,
                    None => init.clone(),
                };
                let next = self.rung(arm, rung, from)?;
                if next.is_none() {
                    return Ok(false);
                }
                base = next.filter(|_| arm.is_chained);
            }
        }
        Ok(true)
    }

    /// What a ratio starts from when another process made the one before.
    fn parent(
        &mut self,
        arm: &ArmPlan,
        index: usize,
        init: &Source<W::Model>,
    ) -> anyhow::Result<Source<W::Model>> {
        self.state = self.setup.folder.state()?;
        let run = self.setup.folder.path();
        let Some(done) = finished_parent(arm, index, &self.state, run)?.cloned() else {
            return Ok(init.clone());
        };
        let path = run.join(&done.checkpoint);
        self.check_saved(&done, &path)?;
        Ok(Source {
            place: Place::Saved(path),
            sha256: done.sha256,
        })
    }

    /// The arm with the layers that it keeps, measured if nobody has done so yet; `None` if it was stopped.
    fn with_layers(&mut self, arm: &ArmPlan) -> anyhow::Result<Option<ArmPlan>> {
        let Some(choice) = &arm.layer_choice else {
            return Ok(Some(arm.clone()));
        };
        let SweepSetup { plan, folder, .. } = self.setup;
        let events = &mut *self.events;
        let note = || {
            let text = "another process finds the layers: waiting for it".into();
            events.emit(Event::Note { text });
        };
        let Some(_lock) = folder.lock_data(self.stop, note)? else {
            return Ok(None);
        };
        self.state = folder.state()?;
        let ranking = Ranking {
            plan,
            arm,
            choice,
            known: self.state.layer_ranking(arm),
            folder: &folder
                .path()
                .join("checkpoints")
                .join(&arm.name)
                .join("layer-choice"),
            events: self.events,
            stop: self.stop,
            keep: &mut |ranking| {
                self.state = folder.update_state(|state| {
                    state.set_layer_ranking(ranking.clone());
                    Ok(())
                })?;
                Ok(())
            },
        };
        let Some(ranking) = self.workshop.rank_layers(ranking)? else {
            return Ok(None);
        };
        let mut arm = arm.clone();
        arm.student.attn_layers = ranking.order();
        let text = format!(
            "layers of `{}` from the one that needs attention most: {:?}",
            arm.name, arm.student.attn_layers
        );
        self.events.emit(Event::Note { text });
        Ok(Some(arm))
    }

    fn measure_teacher(&mut self) -> anyhow::Result<()> {
        if self.state.teacher.is_none() {
            let scores = self.workshop.measure_teacher()?;
            // The first process to measure it speaks for all.
            self.state = self.setup.folder.update_state(|state| {
                state.teacher.get_or_insert(scores);
                Ok(())
            })?;
        }
        if let Some(scores) = self.state.teacher.clone() {
            self.evaluated("teacher", 1.0, None, &scores);
        }
        Ok(self.events.check()?)
    }

    /// Runs the stages of one ratio; returns what the next ratio starts from, or `None` if it was stopped.
    fn rung(
        &mut self,
        arm: &ArmPlan,
        rung: &RungPlan,
        from: Source<W::Model>,
    ) -> anyhow::Result<Option<Source<W::Model>>> {
        let mut student = Student::ToConvert(from);
        let mut next = student.clone();
        for (index, stage) in rung.stages.iter().enumerate() {
            let is_last = index + 1 == rung.stages.len();
            match self.stage(arm, stage, student, is_last)? {
                Some(done) => student = Student::Ready(done),
                None => return Ok(None),
            }
            // DPO is a leaf: the chain goes on from what it started from.
            if stage.kind != StageKind::Dpo {
                next = student.clone();
            }
        }
        match next {
            Student::Ready(source) => Ok(Some(source)),
            Student::ToConvert(from) => Ok(Some(Source {
                sha256: from.sha256.clone(),
                place: Place::Live(self.converted(arm, rung.attention_ratio, from)?),
            })),
        }
    }

    fn stage(
        &mut self,
        arm: &ArmPlan,
        stage: &StagePlan,
        student: Student<W::Model>,
        is_last: bool,
    ) -> anyhow::Result<Option<Source<W::Model>>> {
        let name = stage.checkpoint();
        let path = self.setup.folder.path().join(&name);
        let recorded = self
            .state
            .find(&stage.arm, stage.attention_ratio, stage.kind)
            .cloned();
        let done = recorded.clone().filter(|_| path.exists());
        if done.is_none() && self.stop.is_set_between_stages() {
            return Ok(None);
        }
        self.events.emit(Event::StageStarted {
            arm: stage.arm.clone(),
            attention_ratio: stage.attention_ratio,
            stage: stage.kind,
            steps: stage.steps,
        });
        if let Some(done) = done {
            self.check_saved(&done, &path)?;
            // A process may have been killed between recording the stage and this.
            checkpoint::remove_steps(&path)?;
            self.evaluated(
                &stage.arm,
                stage.attention_ratio,
                Some(stage.kind),
                &done.scores,
            );
            self.events.emit(Event::StageFinished {
                checkpoint: name,
                wall_ms: 0,
            });
            return Ok(Some(Source {
                place: Place::Saved(path),
                sha256: done.sha256,
            }));
        }
        if recorded.is_some() {
            let text = format!("`{name}` is gone: its stage is run again");
            self.events.emit(Event::Note { text });
        }
        let started = Instant::now();
        let (Student::ToConvert(source) | Student::Ready(source)) = &student;
        let parent_sha256 = source.sha256.clone();
        let model = match student {
            Student::ToConvert(from) => self.converted(arm, stage.attention_ratio, from)?,
            Student::Ready(source) => self.loaded(source)?,
        };
        let trained = if stage.steps == 0 {
            Some(model)
        } else {
            self.train(stage, &parent_sha256, &path, model)?
        };
        self.events.check()?;
        let Some(model) = trained else {
            return Ok(None);
        };
        let scores = self.workshop.measure(&model, is_last)?;
        let samples = self.workshop.samples(&model)?;
        let sha256 = self.workshop.save(&model, stage, &parent_sha256, &path)?;
        let done = FinishedStage {
            arm: stage.arm.clone(),
            attention_ratio: stage.attention_ratio,
            stage: stage.kind,
            checkpoint: name.clone(),
            sha256: sha256.clone(),
            scores: scores.clone(),
        };
        if recorded.is_some_and(|before| before.sha256 != sha256) {
            let text = format!(
                "`{name}` is not what it was, bit for bit: what is already finished after it came from the one that is gone"
            );
            self.events.emit(Event::Note { text });
        }
        self.state = self.setup.folder.update_state(|state| {
            state.finish(done);
            Ok(())
        })?;
        checkpoint::remove_steps(&path)?;
        self.evaluated(&stage.arm, stage.attention_ratio, Some(stage.kind), &scores);
        if !samples.is_empty() {
            self.events.emit(Event::Samples {
                arm: stage.arm.clone(),
                attention_ratio: stage.attention_ratio,
                stage: stage.kind,
                samples,
            });
        }
        let wall_ms = u64::try_from(started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.events.emit(Event::StageFinished {
            checkpoint: name,
            wall_ms,
        });
        self.events.check()?;
        Ok(Some(Source {
            place: Place::Live(model),
            sha256,
        }))
    }

    /// Trains, in ever smaller micro-batches where that is asked for and the device has no memory for them; `None` if it was
    /// stopped.
    fn train(
        &mut self,
        stage: &StagePlan,
        parent_sha256: &str,
        folder: &Path,
        student: W::Model,
    ) -> anyhow::Result<Option<W::Model>> {
        loop {
            let micro_batch = self.state.micro_batch(stage);
            let training = Training {
                plan: self.setup.plan,
                stage,
                parent_sha256,
                micro_batch,
                folder,
                events: self.events,
                stop: self.stop,
            };
            let error = match self.workshop.train(training, student.clone()) {
                Ok(trained) => return Ok(trained),
                Err(error) => error,
            };
            let lacked = match error.downcast_ref() {
                Some(DistillError::OutOfMemory { wanted, .. })
                    if self.setup.auto_batch && micro_batch > 1 =>
                {
                    wanted.clone()
                }
                _ => return Err(error),
            };
            let size = micro_batch.div_ceil(2);
            self.state = self.setup.folder.update_state(|state| {
                state.set_micro_batch(stage, size);
                Ok(())
            })?;
            let parts = stage.grad_accumulation * stage.batch_size.div_ceil(size);
            let text = format!(
                "the device has no room for {lacked} more: the stage goes on from its last checkpoint with {parts} \
                 micro-batches of at most {size} a step"
            );
            self.events.emit(Event::Note { text });
            self.events.check()?;
        }
    }

    fn check_saved(&mut self, done: &FinishedStage, path: &Path) -> anyhow::Result<()> {
        let found = self.workshop.saved_sha256(path)?;
        if found == done.sha256 {
            return Ok(());
        }
        Err(DistillError::CheckpointHash {
            path: path.into(),
            found,
            expected: done.sha256.clone(),
        }
        .into())
    }

    fn converted(
        &mut self,
        arm: &ArmPlan,
        attention_ratio: f64,
        from: Source<W::Model>,
    ) -> anyhow::Result<W::Model> {
        let from = self.loaded(from)?;
        self.workshop.convert(&from, arm, attention_ratio)
    }

    fn loaded(&mut self, source: Source<W::Model>) -> anyhow::Result<W::Model> {
        match source.place {
            Place::Init => self.workshop.init_model(),
            Place::Saved(path) => self.workshop.load(&path),
            Place::Live(model) => Ok(model),
        }
    }

    fn evaluated(
        &mut self,
        arm: &str,
        attention_ratio: f64,
        stage: Option<StageKind>,
        scores: &Scores,
    ) {
        let teacher = self
            .state
            .teacher
            .as_ref()
            .map_or(f64::NAN, |teacher| teacher.perplexity);
        self.events.emit(Event::Evaluated {
            arm: arm.into(),
            attention_ratio,
            stage,
            perplexity: scores.perplexity,
            perplexity_ratio: scores.perplexity / teacher,
            tasks: scores.tasks.clone(),
            tokens_per_s: scores.tokens_per_s,
        });
    }
}

#[cfg(test)]
mod tests;
