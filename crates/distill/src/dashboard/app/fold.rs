//! One event after another.
use super::{App, DeviceView, LastStep, LogLine, ProfileView, Progress, RunStatus, StageView};
use super::{StudentView, Tab};
use crate::curves::StepValues;
use crate::dashboard::stage_label;
use crate::dashboard::words::{clock, duration, evaluated_line, rewound_line, skipped_line};
use crate::recipe::StageKind;
use crate::run::{Event, TimedEvent};

/// Lines kept of the log.
const LOG_LINES: usize = 2000;

impl App {
    /// Folds one event in. Events that contradict the plan are shown in the log and change nothing else.
    pub fn apply(&mut self, event: &TimedEvent) {
        self.now_ms = self.now_ms.max(event.time_ms);
        self.last_event_ms = self.last_event_ms.max(event.time_ms);
        if let Some((step, values)) = StepValues::of(event.time_ms, &event.event) {
            self.step(event, step, &values);
            return;
        }
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
                self.is_paused = false;
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
            Event::Device {
                name,
                peak_flops_per_s,
                host_total_bytes,
            } => {
                self.device = Some(DeviceView {
                    name: name.clone(),
                    peak_flops_per_s: *peak_flops_per_s,
                    host_total_bytes: *host_total_bytes,
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
            Event::RunInterrupted => {
                self.status = RunStatus::Interrupted;
                self.line("interrupted");
            }
            Event::RunFailed { message } => {
                self.status = RunStatus::Failed(message.clone());
                self.trouble(&format!("failed: {message}"));
            }
            Event::RunFinished { rows } => {
                self.status = RunStatus::Finished;
                self.rows.clone_from(rows);
                self.line("run finished");
            }
            event => self.during_stage(event),
        }
    }

    fn step(&mut self, event: &TimedEvent, step: usize, values: &StepValues) {
        if let Event::Step {
            loss,
            lr,
            grad_norm,
            tokens,
            tokens_per_s,
            ..
        } = event.event
        {
            self.last = LastStep {
                loss,
                lr,
                grad_norm,
                tokens_per_s,
                tokens,
            };
        }
        self.steps_done += 1;
        if let Some(stage) = self.current_stage_mut() {
            stage.push(step, values);
        }
    }

    /// What belongs to the stage under way.
    fn during_stage(&mut self, event: &Event) {
        match event {
            Event::Student {
                mixer,
                attn_layers,
                n_layers,
                parameters,
                trainable,
                flops_per_token,
            } => {
                let student = StudentView {
                    mixer: *mixer,
                    attn_layers: attn_layers.clone(),
                    n_layers: *n_layers,
                    parameters: (*parameters, *trainable),
                    flops_per_token: *flops_per_token,
                };
                if let Some(stage) = self.current_stage_mut() {
                    stage.student = Some(student);
                }
            }
            Event::Profile {
                step,
                parts,
                layer_grad_norms,
                memory,
            } => {
                if let Some(stage) = self.current_stage_mut() {
                    stage.profiles.retain(|profile| profile.step < *step);
                    stage.profiles.push(ProfileView {
                        step: *step,
                        parts: *parts,
                        layer_grad_norms: layer_grad_norms.clone(),
                        memory: *memory,
                    });
                }
            }
            Event::Samples {
                arm,
                attention_ratio,
                stage,
                samples,
            } => {
                if let Some(index) = self.find(arm, *attention_ratio, *stage) {
                    self.stages[index].samples.clone_from(samples);
                }
            }
            Event::Skipped { step, reason } => {
                self.troubles.0 += 1;
                self.trouble(&skipped_line(*step, reason));
            }
            Event::Rewound {
                step,
                to_step,
                rewind,
                max_rewinds,
                reason,
            } => {
                self.troubles.1 += 1;
                let text = rewound_line(*step, *to_step, *rewind, *max_rewinds, reason);
                self.trouble(&text);
                if let Some(stage) = self.current_stage_mut() {
                    stage.rewind(*to_step);
                }
            }
            Event::Paused { step } => {
                self.is_paused = true;
                self.line(&format!("paused after step {step}"));
            }
            Event::Continued => {
                self.is_paused = false;
                self.line("going on");
            }
            Event::Note { text } => self.line(text),
            _ => {}
        }
    }

    fn stage(&self, arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) -> StageView {
        // After a resume the curves stay: stages are reused, or continued within.
        let known = self
            .find(arm, attention_ratio, kind)
            .map(|index| self.stages[index].clone());
        match known {
            Some(mut known) if known.progress == Progress::Running => {
                known.progress = Progress::Waiting;
                known
            }
            Some(known) => known,
            None => StageView::new(arm, attention_ratio, kind, steps),
        }
    }

    fn start_stage(&mut self, arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) {
        self.current = self.find(arm, attention_ratio, kind);
        self.troubles = (0, 0);
        match self.current.and_then(|index| self.stages.get_mut(index)) {
            // Finished by an earlier process: its curves stay, `StageFinished` follows.
            Some(stage) if matches!(stage.progress, Progress::Done | Progress::Reused) => {}
            Some(stage) => {
                stage.progress = Progress::Running;
                stage.steps = steps;
                // The time between processes is no time of a step.
                stage.timed = None;
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
        self.push_line(text, false);
    }

    fn trouble(&mut self, text: &str) {
        self.push_line(text, true);
    }

    fn push_line(&mut self, text: &str, is_trouble: bool) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine {
            text: format!("{} {text}", clock(self.elapsed_ms())),
            is_trouble,
        });
        // Whoever reads older lines goes on reading them.
        if self.look.tab == Tab::Log && self.look.scroll > 0 {
            self.look.scroll += 1;
        }
    }
}
