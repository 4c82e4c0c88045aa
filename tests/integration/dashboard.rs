//! The dashboard as it looks, at two terminal sizes, from a fixed series of events.
use distill::dashboard::{App, PlainLines, view};
use distill::recipe::StageKind;
use distill::run::{Event, ModelSize, TimedEvent};
use distill::sweep::{RowKind, SweepRow};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const START_MS: u64 = 1_700_000_000_000;

fn at(seconds: u64, event: Event) -> TimedEvent {
    TimedEvent {
        time_ms: START_MS + seconds * 1000,
        event,
    }
}

fn step(step: usize, loss: f64, kl: f64) -> Event {
    Event::Step {
        step,
        loss,
        ce: Some(loss - kl),
        kl: Some(kl),
        margin: None,
        accuracy: None,
        lr: 1e-3,
        grad_norm: 0.75,
        tokens: 1024 * step as u64,
        tokens_per_s: 2048.0,
    }
}

/// Half of a run: the teacher is measured, one stage is done, the second is at step 30 of 60.
fn events() -> Vec<TimedEvent> {
    let mut stages = Vec::new();
    for ratio in [0.5, 0.25, 0.125, 0.0] {
        for kind in [StageKind::Distillation, StageKind::Sft, StageKind::Dpo] {
            stages.push(("chain".to_string(), ratio, kind, 60));
        }
    }
    stages.push((
        "control-random-mixer".to_string(),
        0.5,
        StageKind::Distillation,
        60,
    ));
    let tasks = |recall| vec![("recall".to_string(), recall), ("copy".to_string(), 0.5)];
    let mut events = vec![
        at(
            0,
            Event::RunStarted {
                name: "tiny-mamba2-sweep".into(),
                plan_sha256: "00".into(),
                teacher: "builtin:tiny".into(),
                teacher_size: ModelSize {
                    n_layers: 8,
                    parameters: 2_345_678,
                },
                backend: "flex".into(),
                stages,
                is_resumed: false,
            },
        ),
        at(
            2,
            Event::Evaluated {
                arm: "teacher".into(),
                attention_ratio: 1.0,
                stage: None,
                perplexity: 6.5,
                perplexity_ratio: 1.0,
                tasks: tasks(0.97),
                tokens_per_s: Some(900.0),
            },
        ),
    ];
    for (first, kind) in [(3, StageKind::Distillation), (70, StageKind::Sft)] {
        events.push(at(
            first,
            Event::StageStarted {
                arm: "chain".into(),
                attention_ratio: 0.5,
                stage: kind,
                steps: 60,
            },
        ));
        let steps = if kind == StageKind::Sft { 30 } else { 60 };
        for index in 1..=steps {
            let decay = (-(index as f64) / 20.0).exp();
            events.push(at(
                first + index as u64,
                step(index, 2.0 + 3.0 * decay, 0.1 + decay),
            ));
        }
        if kind == StageKind::Distillation {
            events.push(at(
                66,
                Event::Evaluated {
                    arm: "chain".into(),
                    attention_ratio: 0.5,
                    stage: Some(kind),
                    perplexity: 7.15,
                    perplexity_ratio: 1.1,
                    tasks: tasks(0.81),
                    tokens_per_s: None,
                },
            ));
            events.push(at(
                68,
                Event::StageFinished {
                    checkpoint: "checkpoints/chain/50-distillation".into(),
                    wall_ms: 65_000,
                },
            ));
        }
    }
    events
}

fn rows() -> Vec<SweepRow> {
    let row = |kind, arm: &str, ratio, kept, sft| SweepRow {
        alignment: None,
        kind,
        arm: arm.into(),
        init: (kind == RowKind::Control).then(|| "random-mixer".into()),
        attention_ratio: ratio,
        attn_layers: kept,
        n_layers: 8,
        distillation: (kind != RowKind::Teacher).then_some(1.25),
        sft,
        dpo: sft,
        tasks: vec![("recall".into(), ratio)],
        tokens_per_s: Some(812.4),
        state_bytes: 262_144 * (kept + 1),
    };
    vec![
        row(RowKind::Teacher, "teacher", 1.0, 8, None),
        row(RowKind::Chain, "chain", 0.5, 4, Some(1.0825)),
        row(RowKind::Chain, "chain", 0.125, 1, Some(1.5)),
        row(RowKind::Control, "control-random-mixer", 0.5, 4, None),
    ]
}

fn folded(events: &[TimedEvent]) -> App {
    let mut app = App::default();
    for event in events {
        app.apply(event);
    }
    app
}

fn screen(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view::draw(app, frame.area(), frame.buffer_mut()))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn half_a_run_fits_small_and_large_terminals() {
    let app = folded(&events());
    insta::assert_snapshot!("half_80x24", screen(&app, 80, 24));
    insta::assert_snapshot!("half_120x40", screen(&app, 120, 40));
}

#[test]
fn finished_run_shows_the_table() {
    let mut events = events();
    events.push(at(600, Event::RunFinished { rows: rows() }));
    let app = folded(&events);
    insta::assert_snapshot!("finished_80x24", screen(&app, 80, 24));
    insta::assert_snapshot!("finished_120x40", screen(&app, 120, 40));
}

#[test]
fn empty_help_and_question_are_drawn() {
    let mut app = App::default();
    insta::assert_snapshot!("empty_80x24", screen(&app, 80, 24));
    app.is_help_open = true;
    app.is_asking_to_stop = true;
    insta::assert_snapshot!("help_80x24", screen(&app, 80, 24));
}

#[test]
fn no_terminal_is_too_small_to_draw_on() {
    let app = folded(&events());
    for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 2), (300, 5)] {
        screen(&app, width, height);
    }
}

#[test]
fn estimate_counts_the_steps_that_are_left() {
    let app = folded(&events());
    assert_eq!(app.steps_left(), 13 * 60 - 90);
    // 90 steps in 100 s.
    assert_eq!(app.eta_ms(), Some(100_000 / 90 * (13 * 60 - 90)));
}

#[test]
fn resumed_run_keeps_the_curves_and_replaces_steps_taken_again() {
    let mut all = events();
    all.push(at(101, Event::RunInterrupted));
    let Event::RunStarted {
        name,
        plan_sha256,
        teacher,
        teacher_size,
        backend,
        stages,
        ..
    } = all[0].event.clone()
    else {
        panic!("the first event starts the run")
    };
    let restart = Event::RunStarted {
        name,
        plan_sha256,
        teacher,
        teacher_size,
        backend,
        stages,
        is_resumed: true,
    };
    all.push(at(200, restart));
    let app = folded(&all);
    assert_eq!(app.stages[0].loss.len(), 60);
    assert_eq!(app.stages[1].loss.len(), 30);
    assert_eq!(app.elapsed_ms(), 0);
    all.push(at(
        201,
        Event::StageStarted {
            arm: "chain".into(),
            attention_ratio: 0.5,
            stage: StageKind::Sft,
            steps: 60,
        },
    ));
    // A checkpoint of step 20 was the last whole one.
    all.push(at(202, step(21, 9.5, 0.25)));
    let app = folded(&all);
    let curve = &app.stages[1].loss;
    assert_eq!((curve.len(), curve[20]), (21, (21.0, 9.5)));
    assert_eq!(app.stages[1].second.len(), 21);
}

#[test]
fn plain_lines_name_stages_and_results() {
    let mut text = Vec::new();
    let mut lines = PlainLines::new(&mut text);
    for event in events() {
        lines.apply(&event);
    }
    insta::assert_snapshot!("plain_lines", String::from_utf8(text).unwrap());
}

#[test]
fn tables_as_text_and_markdown() {
    insta::assert_snapshot!("table_text", distill::sweep::text_table(&rows()));
    insta::assert_snapshot!("table_markdown", distill::sweep::markdown_table(&rows()));
}

#[test]
fn a_rewind_takes_the_curves_back_and_is_said() {
    let mut all = events();
    all.push(at(
        101,
        Event::Rewound {
            step: 30,
            to_step: 20,
            rewind: 1,
            max_rewinds: 3,
            reason: "the loss is NaN".into(),
        },
    ));
    let app = folded(&all);
    assert_eq!((app.stages[1].step, app.stages[1].loss.len()), (20, 20));
    let line = "rewound from step 30 to 20 (1 of 3): the loss is NaN";
    assert!(
        app.log.back().unwrap().ends_with(line),
        "{:?}",
        app.log.back()
    );
    let mut text = Vec::new();
    PlainLines::new(&mut text).apply(all.last().unwrap());
    assert_eq!(String::from_utf8(text).unwrap(), format!("{line}\n"));
}
