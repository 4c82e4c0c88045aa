//! SIGKILL at random moments and inside the writing of files: a run that is resumed ends like one that was left alone.
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use model::files::faults::VARIABLE;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::reference::{Reference, files};

/// Kills of a run before it is let to its end.
const KILLS_OF_A_RUN: usize = 4;
/// Operations on files among which a kill inside of one is drawn: about those of two stages.
const OPERATIONS: usize = 90;
const SEED: u64 = 20_261_126;

/// How a process is to end.
#[derive(Clone, Copy)]
enum Moment<'a> {
    /// After some time, wherever it is.
    Time(Duration),
    /// In the middle of so many operations on files below this folder.
    Operation(usize, &'a str),
    Never,
}

/// What was tried and what became of it.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    at_random: usize,
    in_checkpoint: usize,
    in_other_file: usize,
    lost: Vec<String>,
}

impl Tally {
    fn kills(&self) -> usize {
        self.at_random + self.in_checkpoint + self.in_other_file
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the result, with `--nocapture`")]
fn a_run_that_was_killed_ends_like_one_that_was_not() {
    let wanted = std::env::var("CRASH_KILLS").map_or(20, |text| text.parse().unwrap());
    let reference = Reference::new();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut tally = Tally::default();
    let started = Instant::now();
    time(&reference, "timed");
    let whole = started.elapsed();
    while tally.kills() < wanted {
        tally.runs += 1;
        let name = format!("run-{}", tally.runs);
        kill_and_resume(&reference, &name, whole, &mut random, &mut tally);
        std::fs::remove_dir_all(reference.place.path(&name)).unwrap();
    }
    println!(
        "{} kills of {} runs: {} at random moments, {} inside the save of a checkpoint, {} inside the writing of another file; \
         {} lost",
        tally.kills(),
        tally.runs,
        tally.at_random,
        tally.in_checkpoint,
        tally.in_other_file,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
    assert!(tally.in_checkpoint >= wanted / 5, "{tally:?}");
}

/// How long a run takes here is how long a killed one is given at most.
fn time(reference: &Reference, name: &str) {
    let status = begin(reference, name, Moment::Never).wait().unwrap();
    assert!(status.success());
    assert_eq!(reference.difference(&reference.place.path(name)), None);
}

fn kill_and_resume(
    reference: &Reference,
    name: &str,
    whole: Duration,
    random: &mut ChaCha8Rng,
    tally: &mut Tally,
) {
    let run = reference.place.path(name);
    let mut lost = |what: String| tally.lost.push(format!("{name}: {what}"));
    let (mut counts, mut committed) = ([0; 3], None);
    for kill in 0..=KILLS_OF_A_RUN {
        let moment = match random.random_range(0..5) {
            _ if kill == KILLS_OF_A_RUN => Moment::Never,
            0 | 1 => Moment::Time(whole.mul_f64(random.random())),
            2 | 3 => Moment::Operation(random.random_range(1..=OPERATIONS), "/checkpoints/"),
            _ => Moment::Operation(random.random_range(1..=OPERATIONS), name),
        };
        let logged = std::fs::read(run.join("events.jsonl")).map_or(0, |log| log.len());
        let child = begin(reference, name, moment);
        let output = match moment {
            Moment::Time(time) => {
                let mut child = child;
                std::thread::sleep(time);
                child.kill().unwrap();
                child.wait_with_output().unwrap()
            }
            _ => child.wait_with_output().unwrap(),
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        if let Some(committed) = committed.take()
            && let Some(problem) = problem_of_resuming(&run, logged, committed)
        {
            lost(format!("{problem}: {stderr}"));
        }
        if output.status.success() {
            break;
        }
        if output.status.code().is_some() {
            lost(format!("kill {kill} was followed by an error: {stderr}"));
            return;
        }
        let killed = stderr.lines().find(|line| line.starts_with("killed: "));
        match killed {
            Some(line) if line.contains("/checkpoints/") => counts[1] += 1,
            Some(_) => counts[2] += 1,
            None => counts[0] += 1,
        }
        for (path, bytes) in files(&run) {
            let is_whole = !path.split('/').any(|part| part.starts_with('.'));
            if is_whole
                && path.contains("checkpoints/")
                && reference.files.get(&path) != Some(&bytes)
            {
                lost(format!("after kill {kill} `{path}` is another"));
            }
        }
        committed = Some(newest_step(&run));
    }
    if let Some(difference) = reference.difference(&run) {
        lost(difference);
    }
    tally.at_random += counts[0];
    tally.in_checkpoint += counts[1];
    tally.in_other_file += counts[2];
}

/// Starts the run, or continues it.
fn begin(reference: &Reference, name: &str, moment: Moment<'_>) -> Child {
    let is_begun = reference.place.path(name).join("manifest.json").exists();
    let how: [&str; 4] = match is_begun {
        true => ["sweep", "--log-format", "json", "--resume"],
        false => ["sweep", "--recipe", "recipe.toml", "--out"],
    };
    let out = reference.place.path(name);
    let mut command = reference.place.distill(&how);
    command
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Moment::Operation(at, part) = moment {
        command.env(VARIABLE, format!("kill {at} {part}"));
    }
    command.spawn().unwrap()
}

/// Stage and number of the newest step whose checkpoint has its name, of stages that are not finished.
fn newest_step(run: &Path) -> Option<(String, u64)> {
    let stages = std::fs::read_dir(run.join("checkpoints/chain")).ok()?;
    let mut newest = None;
    for stage in stages {
        let stage = stage.unwrap().path();
        let name = stage.file_name()?.to_str()?.to_owned();
        let Some(finished) = name.strip_suffix(".steps") else {
            continue;
        };
        let state = std::fs::read_to_string(run.join("state.json")).unwrap_or_default();
        if state.contains(&format!("chain/{finished}\"")) {
            continue;
        }
        for step in std::fs::read_dir(&stage).unwrap() {
            let step = step.unwrap().path();
            let number = step.file_name()?.to_str()?.strip_prefix("step-");
            // One that is being removed lacks a file.
            let is_whole = ["manifest.json", "state.safetensors"]
                .iter()
                .all(|file| step.join(file).exists());
            if let Some(number) = number.and_then(|number| number.parse().ok())
                && is_whole
            {
                newest = newest.max(Some((finished.to_owned(), number)));
            }
        }
    }
    newest
}

/// What is wrong with what a process said after byte `logged` of the log, when `committed` was on disk.
fn problem_of_resuming(
    run: &Path,
    logged: usize,
    committed: Option<(String, u64)>,
) -> Option<String> {
    let log = std::fs::read(run.join("events.jsonl")).ok()?;
    let log = String::from_utf8_lossy(log.get(logged..)?).into_owned();
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let notes: Vec<String> = events
        .filter_map(|event| Some(event["text"].as_str()?.to_owned()))
        .collect();
    if let Some(note) = notes.iter().find(|note| note.contains("not used")) {
        return Some(format!("a checkpoint with its name is not whole: {note}"));
    }
    let (stage, step) = committed?;
    let note = notes
        .iter()
        .find(|note| note.starts_with("continuing after step"))?;
    let is_it = note.contains(&format!("after step {step} of")) && note.contains(&stage);
    (!is_it).then(|| format!("step {step} of `{stage}` was committed, but: {note}"))
}
