//! The dashboard in a real terminal: tmux types the keys and reads the screen. Skipped, and said so, where there is no tmux.
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::teacher::Workplace;

#[expect(clippy::print_stderr, reason = "says why nothing was tested")]
fn skipped() {
    eprintln!("no tmux here: nothing was tried in a terminal");
}

/// A tmux server of our own, gone when dropped.
pub(crate) struct Tmux<'a> {
    place: &'a Workplace,
    socket: String,
}

impl<'a> Tmux<'a> {
    /// Runs the binary in a terminal of `size`; `None` without tmux.
    pub(crate) fn run(place: &'a Workplace, size: (u16, u16), arguments: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skipped();
            return None;
        }
        // One each: a server that is asked to end still answers for a moment.
        static SERVERS: AtomicUsize = AtomicUsize::new(0);
        let server = SERVERS.fetch_add(1, Ordering::SeqCst);
        let socket = place.path(&format!("tmux-{server}"));
        let socket = socket.display().to_string();
        let tmux = Self { place, socket };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        let binary = env!("CARGO_BIN_EXE_distill");
        let command = format!("{binary} {arguments}; echo \"exit $?\"; sleep 600");
        let started = tmux
            .command(&["new-session", "-d", "-x", &width, "-y", &height, &command])
            .env("LANG", "C.UTF-8")
            .status()
            .unwrap();
        assert!(started.success());
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-f", "/dev/null", "-u", "-S", &self.socket])
            .args(arguments)
            .current_dir(self.place.path(""));
        command
    }

    pub(crate) fn keys(&self, keys: &[&str]) {
        let sent = self.command(&[&["send-keys"], keys].concat()).status();
        assert!(sent.unwrap().success());
    }

    fn screen(&self) -> String {
        let output = self.command(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the screen has a text.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("`{text}`"), |screen| screen.contains(text))
    }

    /// Waits until an empty line is asked for after `>`: keys that come before may be lost with the line before.
    pub(crate) fn wait_for_prompt(&self) {
        self.wait_until("prompt", |screen| screen.trim_end().ends_with("\n>"));
    }

    fn wait_until(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "no {what} in\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
    }
}

/// A sweep that would take an hour.
const LONG: &str = "sweep --recipe recipe.toml --out run --set distillation.steps=100000";

#[test]
fn training_in_the_foreground_is_paused_and_asked_before_it_stops() {
    let place = Workplace::new();
    let Some(tmux) = Tmux::run(&place, (80, 24), LONG) else {
        return;
    };
    tmux.wait_for("loss \u{2014} chain 50 % distillation");
    tmux.keys(&["p"]);
    tmux.wait_for("paused after step");
    tmux.keys(&["p"]);
    tmux.wait_for("going on");
    tmux.keys(&["c"]);
    tmux.wait_for("as asked");
    for (key, text) in [
        ("2", "gradient norm"),
        ("3", "throughput and memory"),
        ("4", "students by layer"),
        ("5", "samples"),
        ("6", "lines"),
        ("7", "stages (compare"),
        ("?", "checkpoint after this step"),
    ] {
        tmux.keys(&[key]);
        tmux.wait_for(text);
    }
    tmux.keys(&["Escape", "1"]);
    // The terminal changes its size under the dashboard.
    let resized = tmux
        .command(&["resize-window", "-x", "120", "-y", "40"])
        .status();
    assert!(resized.unwrap().success());
    let screen = tmux.wait_for("7 compare");
    assert!(screen.lines().count() >= 40, "{screen}");
    tmux.keys(&["q"]);
    tmux.wait_for("stop after this step?");
    tmux.keys(&["n"]);
    tmux.wait_for("7 compare");
    tmux.keys(&["q", "y"]);
    tmux.wait_for("exit 130");
    let (code, _, stderr) = place.run(&["watch", "run", "--no-tui"]);
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn whoever_watches_can_ask_and_leave_and_training_goes_on() {
    let place = Workplace::new();
    let mut arguments: Vec<&str> = LONG.split(' ').collect();
    arguments.push("--no-tui");
    let mut trainer = place
        .distill(&arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let log = place.path("run/events.jsonl");
    let started = Instant::now();
    while !log.exists() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let Some(tmux) = Tmux::run(&place, (80, 24), "watch --all .") else {
        trainer.kill().unwrap();
        trainer.wait().unwrap();
        return;
    };
    tmux.wait_for("running");
    tmux.keys(&["Enter"]);
    tmux.wait_for("loss \u{2014} chain 50 % distillation");
    tmux.keys(&["p"]);
    tmux.wait_for("paused after step");
    tmux.keys(&["p"]);
    tmux.wait_for("going on");
    tmux.keys(&["q"]);
    tmux.wait_for("1 runs in");
    tmux.keys(&["q"]);
    tmux.wait_for("exit 0");
    assert!(trainer.try_wait().unwrap().is_none(), "training goes on");
    trainer.kill().unwrap();
    trainer.wait().unwrap();
    drop(tmux);
    // Killed without a word: the log says running, the lock says nobody does. That is asked after ten seconds of silence.
    let tmux = Tmux::run(&place, (80, 24), "watch run").unwrap();
    tmux.wait_for("nobody trains");
    tmux.keys(&["q"]);
    tmux.wait_for("exit 0");
}
