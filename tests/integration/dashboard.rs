//! The dashboard as it looks, at two terminal sizes, from a fixed series of events.
use distill::curves::Metric;
use distill::dashboard::app::{ChartLook, Tab};
use distill::dashboard::{App, Board, Colours, PlainLines, Theme, Vitals, view};
use distill::recipe::{MixerKind, StageKind};
use distill::run::{Event, MemoryUse, ModelSize, Sample, StepParts, TimedEvent};
use distill::sweep::{RowKind, SweepRow};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

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

fn drawn(app: &App, width: u16, height: u16) -> Buffer {
    let area = ratatui::layout::Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::draw(app, area, &mut buffer);
    buffer
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
    insta::assert_snapshot!("empty_120x40", screen(&app, 120, 40));
    app.look.is_help_open = true;
    app.look.is_asking_to_stop = true;
    insta::assert_snapshot!("help_80x24", screen(&app, 80, 24));
}

#[test]
fn every_page_of_a_live_run_has_its_frame() {
    let mut app = folded(&live_events());
    app.log.extend(app.log.clone());
    for tab in Tab::ALL {
        app.look.tab = tab;
        let name = format!("live_{}", tab.name());
        insta::assert_snapshot!(format!("{name}_80x24"), screen(&app, 80, 24));
        insta::assert_snapshot!(format!("{name}_120x40"), screen(&app, 120, 40));
    }
}

#[test]
fn charts_are_zoomed_smoothed_logarithmic_and_laid_over_each_other() {
    let mut app = folded(&live_events());
    app.look.tab = Tab::Charts;
    app.selected = Some(0);
    app.look.chart = ChartLook {
        is_log: true,
        smoothing: 3,
        zoom: 1,
        pan: 1,
        is_overlay: true,
        only: Some(Metric::Loss),
    };
    app.others = vec![folded(&events())];
    insta::assert_snapshot!("charts_overlay_80x24", screen(&app, 80, 24));
    app.look.tab = Tab::Compare;
    insta::assert_snapshot!("compare_two_80x24", screen(&app, 80, 24));
}

#[test]
fn a_run_that_diverges_says_so() {
    let mut all = events();
    for index in 31..=45 {
        all.push(at(
            100 + index,
            step(index as usize, 30.0 * index as f64, 1.0),
        ));
    }
    all.push(at(
        150,
        Event::Skipped {
            step: 46,
            reason: "loss NaN, gradient norm NaN".into(),
        },
    ));
    let app = folded(&all);
    let alerts = app.alerts();
    assert!(alerts[0].starts_with("the loss diverges"), "{alerts:?}");
    assert!(
        alerts[1].starts_with("1 steps of this stage left out"),
        "{alerts:?}"
    );
    insta::assert_snapshot!("diverged_80x24", screen(&app, 80, 24));
    insta::assert_snapshot!("diverged_120x40", screen(&app, 120, 40));
    let mut calm = folded(&events());
    assert!(calm.alerts().is_empty(), "{:?}", calm.alerts());
    // Steps took a second each: half a minute is the least that counts as a stall.
    calm.tick(START_MS + 100_000 + 29_000);
    assert!(calm.alerts().is_empty(), "{:?}", calm.alerts());
    calm.tick(START_MS + 100_000 + 31_000);
    assert_eq!(calm.alerts(), ["stalled: no event for 31s"]);
    calm.vitals = Vitals {
        disk: Some((1 << 20, 1 << 40)),
        is_held: Some(false),
        is_gone: false,
    };
    assert_eq!(
        calm.alerts(),
        [
            "the disk is low: 1 MiB are free",
            "nobody trains: killed? `sweep --resume` goes on"
        ]
    );
    calm.is_paused = true;
    calm.vitals = Vitals::default();
    assert!(calm.alerts().is_empty(), "a pause is no stall");
}

#[test]
fn a_log_of_a_newer_version_and_one_that_is_still_read_are_said() {
    let mut app = folded(&events());
    app.skipped_lines = 3;
    app.reading = Some(0.25);
    let frame = screen(&app, 80, 24);
    assert!(frame.contains("reading the log: 25 %"), "{frame}");
    assert!(
        frame.contains("3 lines of the log are torn or of a newer version"),
        "{frame}"
    );
}

#[test]
fn ascii_and_colourless_terminals_get_what_they_can_show() {
    let mut app = folded(&live_events());
    app.theme = Theme {
        colours: Colours::None,
        is_ascii: true,
    };
    for tab in Tab::ALL {
        app.look.tab = tab;
        let buffer = drawn(&app, 80, 24);
        for cell in buffer.content() {
            assert!(cell.symbol().is_ascii(), "{tab:?}: {}", cell.symbol());
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{tab:?}");
        }
    }
    app.look.tab = Tab::Layers;
    insta::assert_snapshot!("ascii_layers_80x24", screen(&app, 80, 24));
    app.look.tab = Tab::Overview;
    insta::assert_snapshot!("ascii_overview_80x24", screen(&app, 80, 24));
    app.theme.colours = Colours::Sixteen;
    for tab in Tab::ALL {
        app.look.tab = tab;
        let is_of_sixteen = |colour: Color| !matches!(colour, Color::Rgb(..) | Color::Indexed(_));
        assert!(
            drawn(&app, 80, 24)
                .content()
                .iter()
                .all(|cell| is_of_sixteen(cell.fg))
        );
    }
}

#[test]
fn the_log_is_filtered() {
    let mut app = folded(&events());
    app.apply(&at(
        101,
        Event::Skipped {
            step: 31,
            reason: "loss inf".into(),
        },
    ));
    app.look.tab = Tab::Log;
    app.look.filter = "SAVED".into();
    let frame = screen(&app, 80, 24);
    assert!(
        frame.contains("1 of 5 lines") && frame.contains("saved checkpoints"),
        "{frame}"
    );
    assert!(!frame.contains("run started"), "{frame}");
    app.look.filter.clear();
    app.look.is_trouble_only = true;
    let frame = screen(&app, 80, 24);
    assert!(frame.contains("step 31 left out: loss inf"), "{frame}");
    assert!(!frame.contains("saved checkpoints"), "{frame}");
}

#[test]
fn no_terminal_is_too_small_or_too_large_to_draw_on() {
    let mut app = folded(&live_events());
    for tab in Tab::ALL {
        app.look.tab = tab;
        for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 2), (300, 5), (480, 135)] {
            screen(&app, width, height);
        }
    }
}

/// As [`events`], with what a trainer of this version says beside.
fn live_events() -> Vec<TimedEvent> {
    let mut all = Vec::new();
    for event in events() {
        let seconds = (event.time_ms - START_MS) / 1000;
        let is_start = matches!(event.event, Event::RunStarted { .. });
        let is_stage = matches!(event.event, Event::StageStarted { .. });
        let taken = match event.event {
            Event::Step { step, .. } => Some(step),
            _ => None,
        };
        all.push(event);
        if is_start {
            all.push(at(
                seconds,
                Event::Device {
                    name: "Cpu".into(),
                    peak_flops_per_s: 5e10,
                    host_total_bytes: Some(16 << 30),
                },
            ));
        }
        if is_stage {
            all.push(at(
                seconds,
                Event::Student {
                    mixer: MixerKind::Mamba2,
                    attn_layers: vec![1, 3, 5, 7],
                    n_layers: 8,
                    parameters: 2_500_000,
                    trainable: 400_000,
                    flops_per_token: 1.2e7,
                },
            ));
        }
        if let Some(step) = taken.filter(|step| step % 3 == 1) {
            let norm = |layer: usize| match layer % 2 {
                0 => (1.0 + layer as f64) / step as f64,
                _ => 0.0,
            };
            all.push(at(
                seconds,
                Event::Profile {
                    step,
                    parts: StepParts {
                        data_ms: 2.0,
                        teacher_ms: 120.0,
                        forward_ms: 240.0,
                        backward_ms: 610.0,
                        optimizer_ms: 28.0,
                    },
                    layer_grad_norms: (0..8).map(norm).collect(),
                    memory: MemoryUse {
                        host_bytes: Some(300 << 20),
                        host_peak_bytes: Some(410 << 20),
                        device_bytes: None,
                        device_reserved_bytes: None,
                    },
                },
            ));
        }
        if taken == Some(60) {
            all.push(at(
                seconds,
                Event::Samples {
                    arm: "chain".into(),
                    attention_ratio: 0.5,
                    stage: StageKind::Distillation,
                    samples: vec![Sample {
                        prompt: "Why is the sky blue?".into(),
                        teacher: "Because of how the air scatters light: blue more than red."
                            .into(),
                        student: "Because of the air, which is blue.".into(),
                    }],
                },
            ));
        }
    }
    all
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
    assert_eq!(app.stages[0].curve(Metric::Loss).len(), 60);
    assert_eq!(app.stages[1].curve(Metric::Loss).len(), 30);
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
    insta::assert_snapshot!("resumed_80x24", screen(&app, 80, 24));
    insta::assert_snapshot!("resumed_120x40", screen(&app, 120, 40));
    let curve = app.stages[1].curve(Metric::Loss);
    assert_eq!((curve.len(), curve.last()), (21, Some((21, 9.5))));
    assert_eq!(app.stages[1].curve(Metric::Kl).len(), 21);
}

#[test]
fn plain_lines_name_stages_and_results() {
    let mut lines = PlainLines::new();
    let text: Vec<String> = events()
        .iter()
        .filter_map(|event| lines.line(event))
        .collect();
    insta::assert_snapshot!("plain_lines", text.join("\n"));
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
    assert_eq!(
        (app.stages[1].step, app.stages[1].curve(Metric::Loss).len()),
        (20, 20)
    );
    let line = "rewound from step 30 to 20 (1 of 3): the loss is NaN";
    assert!(
        app.log.back().unwrap().text.ends_with(line),
        "{:?}",
        app.log.back()
    );
    let text = PlainLines::new().line(all.last().unwrap());
    assert_eq!(text.as_deref(), Some(line));
}

#[test]
fn the_board_has_a_line_for_every_run_below_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, events: &[TimedEvent]| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), "{}").unwrap();
        let lines: String = events.iter().map(|event| event.to_json() + "\n").collect();
        std::fs::write(folder.join("events.jsonl"), lines).unwrap();
    };
    write("night/one", &events());
    let mut finished = events();
    finished.push(at(600, Event::RunFinished { rows: rows() }));
    write("two", &finished);
    write("three", &[]);
    std::fs::create_dir(dir.path().join("no run")).unwrap();
    let mut board = Board::new(dir.path(), Theme::default()).unwrap();
    board.poll(START_MS + 100_000).unwrap();
    let area = ratatui::layout::Rect::new(0, 0, 120, 8);
    let mut buffer = Buffer::empty(area);
    board.draw(area, &mut buffer);
    let row = |y: u16| -> String { (0..120).map(|x| buffer[(x, y)].symbol()).collect() };
    assert!(row(0).contains(" 3 runs in "), "{}", row(0));
    for (y, parts) in [
        (
            2,
            [
                "night/one",
                "running",
                "1/13",
                "2.6694",
                "12m 47s",
                "chain 50 % sft 30/60",
            ],
        ),
        (3, ["three", "waiting", "0/0", "0.0000", "-", ""]),
        (
            4,
            [
                "two",
                "finished",
                "1/13",
                "2.6694",
                "-",
                "chain 50 % sft 30/60",
            ],
        ),
    ] {
        for part in parts {
            assert!(row(y).contains(part), "{part}: {}", row(y));
        }
    }
}
