//! `bench dashboard`: what it costs to draw a run with a long log, and what training pays for being watched.
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eval::report::{Cell, Table};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::cli::DashboardArgs;
use crate::commands::Outcome;
use crate::dashboard::app::Tab;
use crate::dashboard::{App, Feed, READING, pause_after, view};
use crate::recipe::StageKind;
use crate::run::{Event, EventLog, LogReader, ModelSize, StepParts, TimedEvent};

/// Terminals: the smallest, a common one, full HD and 4K with a small font.
const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (240, 67), (480, 135)];
/// Time that a frame may take, milliseconds.
const FRAME_MS: f64 = 16.0;
/// Frames that are timed on each page.
const FRAMES: usize = 20;
/// Steps a profile.
const PROFILE_EVERY: usize = 100;

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Prints a table of times on stdout.
///
/// # Errors
/// A temporary folder that cannot be written, a closed stdout.
pub(super) fn run(args: &DashboardArgs) -> anyhow::Result<Outcome> {
    let name = format!("distill-bench-{}", std::process::id());
    let folder = Scratch(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&folder.0)?;
    let emitting = emitting_us(&folder.0)?;
    write_log(&folder.0, args.events)?;
    let mut app = App::default();
    let (reading, longest) = read(&folder.0, &mut app)?;
    let mut table = Table::new()
        .text_column("terminal", "terminal")
        .text_column("page", "slowest page")
        .number_column("median_ms", "median ms")
        .number_column("longest_ms", "longest ms")
        .number_column("of_core", "of a core");
    let mut worst: f64 = 0.0;
    for (width, height) in SIZES {
        let mut slowest = (Tab::Overview, 0.0, 0.0);
        for tab in Tab::ALL {
            app.look.tab = tab;
            let (median, most) = draw_ms(&app, width, height)?;
            if median > slowest.1 {
                slowest = (tab, median, most);
            }
        }
        let (tab, median, most) = slowest;
        worst = worst.max(median);
        let pause = pause_after(Duration::from_secs_f64(median / 1e3));
        table.push([
            Cell::text(format!("{width}x{height}")),
            Cell::text(tab.name()),
            Cell::number(median, 2),
            Cell::number(most, 2),
            Cell::percent(median / (median + pause.as_secs_f64() * 1e3)),
        ]);
    }
    let mut out = io::stdout().lock();
    let per_s = args.events as f64 / reading;
    writeln!(
        out,
        "{} events read and folded in {reading:.1} s ({per_s:.0} a second); longest frame meanwhile {longest:.1} ms\n\n{}\n\
         slowest page of all {worst:.1} ms, {FRAME_MS} ms are allowed: {}\n\
         a step emits its event in {emitting:.1} us: {:.3} % of a step of {} ms",
        args.events,
        table.to_text(),
        if worst <= FRAME_MS { "PASS" } else { "FAIL" },
        emitting / 10.0 / args.step_ms,
        args.step_ms
    )?;
    Ok(Outcome::Done)
}

/// Mean time of a step to write its event to the log and to offer it to the screen, microseconds.
fn emitting_us(folder: &Path) -> anyhow::Result<f64> {
    const COUNT: usize = 20_000;
    let mut log = EventLog::open(folder, &["emitting".into()])?;
    let feed = Feed::new(256);
    let started = Instant::now();
    for index in 1..=COUNT {
        let event = TimedEvent::now(step(index));
        log.append(&event);
        feed.push(&event);
        if index % 64 == 0 {
            feed.drain();
        }
    }
    log.check()?;
    Ok(started.elapsed().as_secs_f64() * 1e6 / COUNT as f64)
}

/// Seconds to read and fold the whole log, and the longest frame meanwhile in milliseconds.
fn read(folder: &Path, app: &mut App) -> anyhow::Result<(f64, f64)> {
    let mut reader = LogReader::open(folder, &[])?;
    let mut terminal = Terminal::new(TestBackend::new(120, 40))?;
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        let frame = Instant::now();
        let is_more = reader.poll_for(READING, |event| app.apply(&event))?;
        terminal.draw(|frame| view::draw(app, frame.area(), frame.buffer_mut()))?;
        longest = longest.max(frame.elapsed());
        if !is_more {
            return Ok((started.elapsed().as_secs_f64(), longest.as_secs_f64() * 1e3));
        }
    }
}

/// Median and longest time of a frame, milliseconds.
fn draw_ms(app: &App, width: u16, height: u16) -> anyhow::Result<(f64, f64)> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    let mut times = Vec::new();
    for _ in 0..FRAMES {
        let started = Instant::now();
        terminal.draw(|frame| view::draw(app, frame.area(), frame.buffer_mut()))?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[FRAMES / 2], times[FRAMES - 1]))
}

fn step(step: usize) -> Event {
    let loss = 2.0 + (-(step as f64) / 5e4).exp() + 0.1 * (step as f64 * 0.7).sin();
    Event::Step {
        step,
        loss,
        ce: Some(0.6 * loss),
        kl: Some(0.4 * loss),
        margin: None,
        accuracy: None,
        lr: 1e-3,
        grad_norm: 1.0 + 0.3 * (step as f64).cos(),
        tokens: 4096 * step as u64,
        tokens_per_s: 30_000.0,
    }
}

/// A log of `count` events: one stage, under way.
fn write_log(folder: &Path, count: usize) -> anyhow::Result<()> {
    let stage = (
        "chain".to_string(),
        0.5,
        StageKind::Distillation,
        count.max(2),
    );
    let head = [
        Event::RunStarted {
            name: "bench".into(),
            plan_sha256: String::new(),
            teacher: "none".into(),
            teacher_size: ModelSize {
                n_layers: 32,
                parameters: 1_000_000,
            },
            backend: crate::backend::NAME.into(),
            stages: vec![stage.clone()],
            is_resumed: false,
        },
        Event::StageStarted {
            arm: stage.0,
            attention_ratio: stage.1,
            stage: stage.2,
            steps: stage.3,
        },
    ];
    let profile = |index: usize| Event::Profile {
        step: index,
        parts: StepParts {
            data_ms: 1.0,
            teacher_ms: 20.0,
            forward_ms: 30.0,
            backward_ms: 45.0,
            optimizer_ms: 4.0,
        },
        layer_grad_norms: (1..=32)
            .map(|layer| f64::from(layer) / index as f64)
            .collect(),
        memory: Default::default(),
    };
    let every = (count / PROFILE_EVERY).max(1);
    let steps = (1_usize..).flat_map(|index| {
        let look = index.is_multiple_of(every).then(|| profile(index));
        look.into_iter().chain([step(index)])
    });
    let mut text = String::new();
    for (time_ms, event) in (0..).zip(head.into_iter().chain(steps)).take(count) {
        text += &TimedEvent { time_ms, event }.to_json();
        text.push('\n');
    }
    Ok(model::files::write(
        &folder.join(EventLog::FILE),
        text.as_bytes(),
    )?)
}
