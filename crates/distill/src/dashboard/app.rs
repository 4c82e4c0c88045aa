//! What the dashboard knows: a fold over the events of a run.
use std::collections::VecDeque;

use crate::recipe::StageKind;
use crate::run::{Event, ModelSize, TimedEvent};
use crate::sweep::SweepRow;

use super::words::{clock, duration, evaluated_line, rewound_line, stage_label};

/// Lines kept of the log.
const LOG_LINES: usize = 200;

/// Where a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// Being trained or measured.
    Running,
    /// Trained and on disk.
    Done,
    /// Taken from the checkpoint of an earlier process.
    Reused,
}

/// One stage of the tree, with its curves.
#[derive(Debug, Clone, PartialEq)]
pub struct StageView {
    /// Arm of the sweep.
    pub arm: String,
    /// Share of layers that keep attention.
    pub attention_ratio: f64,
    /// Which stage.
    pub kind: StageKind,
    /// Optimiser steps planned.
    pub steps: usize,
    /// Optimiser steps done.
    pub step: usize,
    /// Where it is.
    pub progress: Progress,
    /// `(step, loss)`.
    pub loss: Vec<(f64, f64)>,
    /// `(step, KL)`, or the reward margin of DPO.
    pub second: Vec<(f64, f64)>,
    /// Perplexity over the teacher's, once measured.
    pub perplexity_ratio: Option<f64>,
    /// Exact match by task.
    pub tasks: Vec<(String, f64)>,
}

/// How the run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunStatus {
    /// No event yet.
    Waiting,
    /// Going on.
    Running,
    /// The user asked to stop; the current step is being finished.
    Stopping,
    /// Stopped by the user.
    Interrupted,
    /// Ended by an error.
    Failed(String),
    /// Complete.
    Finished,
}

/// Numbers of the last step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LastStep {
    /// What was minimised.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// Tokens of the stage so far.
    pub tokens: u64,
}

/// The state behind every view.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Name of the run.
    pub name: String,
    /// Teacher as the recipe calls it.
    pub teacher: String,
    /// Size of the teacher.
    pub teacher_size: Option<ModelSize>,
    /// Perplexity of the teacher.
    pub teacher_perplexity: Option<f64>,
    /// Backend name.
    pub backend: String,
    /// How the run stands.
    pub status: RunStatus,
    /// Every stage of the plan.
    pub stages: Vec<StageView>,
    /// Index into `stages` of the one under way, or last under way.
    pub current: Option<usize>,
    /// Stage whose curves are shown; `None` follows the current one.
    pub selected: Option<usize>,
    /// Numbers of the last step.
    pub last: LastStep,
    /// Newest line last.
    pub log: VecDeque<String>,
    /// The final table.
    pub rows: Vec<SweepRow>,
    /// Whether the key list is open.
    pub is_help_open: bool,
    /// Whether the question "stop?" is open.
    pub is_asking_to_stop: bool,
    /// Whether colours are left out (`NO_COLOR`).
    pub is_plain: bool,
    /// Time of the newest event or tick, ms since the epoch.
    pub now_ms: u64,
    /// Time of the (last) start, ms since the epoch.
    pub started_ms: u64,
    /// Steps since that start, for the estimate.
    pub steps_done: usize,
}

impl Default for App {
    fn default() -> Self {
        Self {
            name: String::new(),
            teacher: String::new(),
            teacher_size: None,
            teacher_perplexity: None,
            backend: String::new(),
            status: RunStatus::Waiting,
            stages: Vec::new(),
            current: None,
            selected: None,
            last: LastStep::default(),
            log: VecDeque::new(),
            rows: Vec::new(),
            is_help_open: false,
            is_asking_to_stop: false,
            is_plain: false,
            now_ms: 0,
            started_ms: 0,
            steps_done: 0,
        }
    }
}

impl App {
    /// Folds one event in. Events that contradict the plan are shown in the log and change nothing else.
    pub fn apply(&mut self, event: &TimedEvent) {
        self.now_ms = self.now_ms.max(event.time_ms);
        match &event.event {
            Event::RunStarted {
                name,
                teacher,
                teacher_size,
                backend,
                stages,
                is_resumed,
                ..
            } => {
                self.name.clone_from(name);
                self.teacher.clone_from(teacher);
                self.teacher_size = Some(*teacher_size);
                self.backend.clone_from(backend);
                self.status = RunStatus::Running;
                self.stages = stages
                    .iter()
                    .map(|(arm, attention_ratio, kind, steps)| {
                        self.stage(arm, *attention_ratio, *kind, *steps)
                    })
                    .collect();
                self.current = None;
                self.started_ms = event.time_ms;
                self.steps_done = 0;
                self.line(if *is_resumed {
                    "run resumed"
                } else {
                    "run started"
                });
            }
            Event::StageStarted {
                arm,
                attention_ratio,
                stage,
                steps,
            } => {
                self.start_stage(arm, *attention_ratio, *stage, *steps);
            }
            Event::Step {
                step,
                loss,
                kl,
                margin,
                lr,
                grad_norm,
                tokens,
                tokens_per_s,
                ..
            } => {
                self.last = LastStep {
                    loss: *loss,
                    lr: *lr,
                    grad_norm: *grad_norm,
                    tokens_per_s: *tokens_per_s,
                    tokens: *tokens,
                };
                self.steps_done += 1;
                if let Some(stage) = self.current_stage_mut() {
                    stage.step = *step;
                    // Steps that are taken again replace those of the first time.
                    cut(&mut stage.loss, *step);
                    cut(&mut stage.second, *step);
                    stage.loss.push((*step as f64, *loss));
                    stage
                        .second
                        .extend((*kl).or(*margin).map(|value| (*step as f64, value)));
                }
            }
            Event::Evaluated {
                arm,
                attention_ratio,
                stage,
                perplexity,
                perplexity_ratio,
                tasks,
                ..
            } => {
                self.line(&evaluated_line(
                    arm,
                    *attention_ratio,
                    *stage,
                    *perplexity,
                    *perplexity_ratio,
                    tasks,
                ));
                match stage {
                    None => self.teacher_perplexity = Some(*perplexity),
                    Some(kind) => {
                        if let Some(index) = self.find(arm, *attention_ratio, *kind) {
                            self.stages[index].perplexity_ratio = Some(*perplexity_ratio);
                            self.stages[index].tasks.clone_from(tasks);
                        }
                    }
                }
            }
            Event::StageFinished {
                checkpoint,
                wall_ms,
            } => {
                if let Some(stage) = self.current_stage_mut() {
                    stage.progress = if *wall_ms == 0 {
                        Progress::Reused
                    } else {
                        Progress::Done
                    };
                    stage.step = stage.steps;
                }
                if *wall_ms > 0 {
                    self.line(&format!("saved {checkpoint} after {}", duration(*wall_ms)));
                }
            }
            Event::Rewound {
                step,
                to_step,
                rewind,
                max_rewinds,
                reason,
            } => {
                self.line(&rewound_line(
                    *step,
                    *to_step,
                    *rewind,
                    *max_rewinds,
                    reason,
                ));
                if let Some(stage) = self.current_stage_mut() {
                    stage.step = *to_step;
                    cut(&mut stage.loss, to_step + 1);
                    cut(&mut stage.second, to_step + 1);
                }
            }
            Event::Note { text } => self.line(text),
            Event::RunInterrupted => {
                self.status = RunStatus::Interrupted;
                self.line("interrupted");
            }
            Event::RunFailed { message } => {
                self.status = RunStatus::Failed(message.clone());
                self.line(&format!("failed: {message}"));
            }
            Event::RunFinished { rows } => {
                self.status = RunStatus::Finished;
                self.rows.clone_from(rows);
                self.line("run finished");
            }
        }
    }

    /// Lets time pass without an event.
    pub fn tick(&mut self, now_ms: u64) {
        if matches!(self.status, RunStatus::Running | RunStatus::Stopping) {
            self.now_ms = self.now_ms.max(now_ms);
        }
    }

    /// Stage whose curves are shown.
    pub fn shown(&self) -> Option<&StageView> {
        self.selected
            .or(self.current)
            .and_then(|index| self.stages.get(index))
    }

    /// Time since the (last) start, ms.
    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.started_ms)
    }

    /// Planned steps that are left.
    pub fn steps_left(&self) -> usize {
        self.stages
            .iter()
            .map(|stage| stage.steps.saturating_sub(stage.step))
            .sum()
    }

    /// Time that is left, ms, if steps go on taking as long as they did, evaluation included.
    pub fn eta_ms(&self) -> Option<u64> {
        let is_going_on = matches!(self.status, RunStatus::Running | RunStatus::Stopping);
        (is_going_on && self.steps_done > 0)
            .then(|| self.elapsed_ms() / self.steps_done as u64 * self.steps_left() as u64)
    }

    fn stage(&self, arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) -> StageView {
        // After a resume the curves stay: stages are reused, or continued within.
        let known = self
            .find(arm, attention_ratio, kind)
            .map(|index| self.stages[index].clone());
        let fresh = StageView {
            arm: arm.into(),
            attention_ratio,
            kind,
            steps,
            step: 0,
            progress: Progress::Waiting,
            loss: Vec::new(),
            second: Vec::new(),
            perplexity_ratio: None,
            tasks: Vec::new(),
        };
        match known {
            Some(known) if known.progress == Progress::Running => StageView {
                progress: Progress::Waiting,
                ..known
            },
            Some(known) => known,
            None => fresh,
        }
    }

    fn start_stage(&mut self, arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) {
        self.current = self.find(arm, attention_ratio, kind);
        match self.current.and_then(|index| self.stages.get_mut(index)) {
            // Finished by an earlier process: its curves stay, `StageFinished` follows.
            Some(stage) if matches!(stage.progress, Progress::Done | Progress::Reused) => {}
            Some(stage) => {
                stage.progress = Progress::Running;
                stage.steps = steps;
            }
            None => self.line(&format!(
                "unplanned stage {arm} {}",
                stage_label(attention_ratio, kind)
            )),
        }
    }

    fn current_stage_mut(&mut self) -> Option<&mut StageView> {
        self.current.and_then(|index| self.stages.get_mut(index))
    }

    fn find(&self, arm: &str, attention_ratio: f64, kind: StageKind) -> Option<usize> {
        self.stages.iter().position(|stage| {
            stage.arm == arm && stage.attention_ratio == attention_ratio && stage.kind == kind
        })
    }

    fn line(&mut self, text: &str) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log
            .push_back(format!("{} {text}", clock(self.elapsed_ms())));
    }
}

/// Drops the points of `step` and later ones.
fn cut(points: &mut Vec<(f64, f64)>, step: usize) {
    while points.last().is_some_and(|(at, _)| *at >= step as f64) {
        points.pop();
    }
}
