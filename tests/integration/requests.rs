//! What a run is asked for from outside, and what is left when it or who watches it is killed.
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use crate::teacher::Workplace;

const LAST: &str = "checkpoints/chain/0-dpo/model.safetensors";
/// Long enough to be asked for something meanwhile.
const STEPS: &str = "distillation.steps=60";

/// A sweep in the background, with the events that it prints.
struct Sweep {
    child: Child,
    events: Lines<BufReader<ChildStderr>>,
}

impl Sweep {
    fn start(place: &Workplace, arguments: &[&str]) -> Self {
        let mut child = place
            .distill(&[&["sweep", "--log-format", "json"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, events }
    }

    fn begin(place: &Workplace, out: &str) -> Self {
        Self::start(
            place,
            &["--recipe", "recipe.toml", "--out", out, "--set", STEPS],
        )
    }

    /// Reads on to the first event that has all of these.
    fn wait_for(&mut self, parts: &[&str]) -> String {
        let has_all = |line: &String| parts.iter().all(|part| line.contains(part));
        let line = self.events.by_ref().map_while(Result::ok).find(has_all);
        line.unwrap_or_else(|| panic!("no event with {parts:?}"))
    }

    /// Lets it end, and returns its exit code.
    fn end(mut self) -> Option<i32> {
        self.events.by_ref().for_each(drop);
        self.child.wait().unwrap().code()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn request(run: &Path, name: &str) {
    let folder = run.join("requests/events");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), "").unwrap();
}

fn whole(place: &Workplace) -> Vec<u8> {
    assert_eq!(Sweep::begin(place, "whole").end(), Some(0));
    std::fs::read(place.path("whole").join(LAST)).unwrap()
}

#[test]
fn a_run_pauses_saves_and_stops_after_a_stage_as_asked_and_ends_the_same() {
    let place = Workplace::new();
    let run = place.path("run");
    let mut sweep = Sweep::begin(&place, "run");
    sweep.wait_for(&["\"event\":\"step\""]);
    request(&run, "pause");
    let paused = sweep.wait_for(&["\"event\":\"paused\""]);
    assert!(
        !paused.contains("\"step\":60}"),
        "the stage was over: {paused}"
    );
    std::fs::remove_file(run.join("requests/events/pause")).unwrap();
    sweep.wait_for(&["\"event\":\"continued\""]);
    request(&run, "checkpoint");
    sweep.wait_for(&["\"event\":\"note\"", "checkpoint after step", "as asked"]);
    assert!(!run.join("requests/events/checkpoint").exists());
    request(&run, "stop-after-stage");
    assert_eq!(sweep.end(), Some(130));
    assert!(run.join("checkpoints/chain/50-distillation").is_dir());
    assert!(!run.join("checkpoints/chain/50-sft").exists());
    // What was asked of that process is not asked of the next.
    assert_eq!(Sweep::start(&place, &["--resume", "run"]).end(), Some(0));
    assert!(
        std::fs::read(run.join(LAST)).unwrap() == whole(&place),
        "another student"
    );
}

/// A watcher with its lines.
fn watch(place: &Workplace, run: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = place
        .distill(&["watch", run, "--no-tui"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn killing_trainer_and_watcher_in_either_order_loses_nothing() {
    let place = Workplace::new();
    let expected = whole(&place);

    // The watcher first: training does not notice.
    let mut sweep = Sweep::begin(&place, "first");
    sweep.wait_for(&["\"event\":\"step\""]);
    let (mut watcher, mut lines) = watch(&place, "first");
    assert!(lines.next().unwrap().unwrap().starts_with("running probe"));
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert_eq!(sweep.end(), Some(0));
    assert!(std::fs::read(place.path("first").join(LAST)).unwrap() == expected);

    // The trainer first: the watcher waits, sees who goes on, and the end.
    let mut sweep = Sweep::begin(&place, "second");
    sweep.wait_for(&["\"event\":\"step\""]);
    request(&place.path("second"), "checkpoint");
    sweep.wait_for(&["as asked"]);
    let (mut watcher, lines) = watch(&place, "second");
    sweep.kill();
    assert!(
        watcher.try_wait().unwrap().is_none(),
        "the watcher is there"
    );
    assert_eq!(Sweep::start(&place, &["--resume", "second"]).end(), Some(0));
    let lines: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(watcher.wait().unwrap().success());
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(
        has("resuming probe") && has("continuing after step"),
        "{lines:?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("finished"));
    assert!(std::fs::read(place.path("second").join(LAST)).unwrap() == expected);

    // A line that the kill tore is one that no other event is lost to.
    let log = std::fs::read_to_string(place.path("second/events.jsonl")).unwrap();
    let bad = log
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err());
    assert!(bad.count() <= 1);
}

#[test]
fn a_shell_is_told_of_every_verb() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, stderr) = place.run(&["completions", shell]);
        assert_eq!(code, Some(0), "{stderr}");
        for word in ["generate-data", "tensorboard", "log-format"] {
            assert!(stdout.contains(word), "{shell}: {word}");
        }
    }
    let (code, _, stderr) = place.run(&["man", "pages"]);
    assert_eq!(code, Some(0), "{stderr}");
    for page in ["distill.1", "distill-watch.1", "distill-bench-dashboard.1"] {
        let text = std::fs::read_to_string(place.path("pages").join(page)).unwrap();
        assert!(text.contains(".TH "), "{page}");
    }
    let is_lintable = Command::new("man").arg("--version").output().is_ok();
    if is_lintable {
        let page = place.path("pages/distill-watch.1");
        let shown = Command::new("man").arg("-l").arg(page).output().unwrap();
        assert!(String::from_utf8_lossy(&shown.stdout).contains("Every run below"));
    }
}

#[test]
fn json_is_all_that_is_said_where_it_is_asked_for() {
    let place = Workplace::new();
    let (code, stdout, stderr) = place.run(&[
        "sweep",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--log-format",
        "json",
    ]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("attention "), "{stdout}");
    // The same events, to the byte, as the log has.
    let log = std::fs::read_to_string(place.path("run/events.jsonl")).unwrap();
    assert_eq!(stderr, log);
    let (code, stdout, _) = place.run(&["watch", "run", "--log-format", "json"]);
    assert_eq!(code, Some(0));
    // Read and written again, a number may end in another sixteenth digit.
    let kinds = |text: &str| -> Vec<String> {
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events
            .map(|event: serde_json::Value| event["event"].to_string())
            .collect()
    };
    assert_eq!(kinds(&stdout), kinds(&log));
}
