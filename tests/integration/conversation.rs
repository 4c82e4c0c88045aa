//! `chat` from a script, from a terminal, and interrupted.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::teacher::Workplace;
use crate::terminal::Tmux;

const MODEL: &[&str] = &["chat", "--model", "builtin:tiny"];

/// stdout and stderr of a conversation.
fn chat(arguments: &[&str], lines: &[&str]) -> (String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(MODEL)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = lines.join("\n") + "\n";
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

fn generate(prompt: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(["generate", "--model", "builtin:tiny", "--max-tokens", "20"])
        .args(["--prompt", prompt])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers of a line of `/stats`, in order.
fn numbers(line: &str) -> Vec<f64> {
    let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_script_talks_turn_after_turn_and_only_new_tokens_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("said.json");
    let save = format!("/save {}", file.display());
    let lines = [
        "/stats",
        "Tell me a story about a cat.",
        "/stats",
        "And then?",
        "/stats",
        save.as_str(),
        "/nonsense",
        "",
        "/reset",
        "Tell me a story about a cat.",
        "/quit",
        "never read",
    ];
    let (stdout, stderr) = chat(&["--max-tokens", "20"], &lines);
    let first = generate("Tell me a story about a cat.");
    assert!(!first.trim().is_empty());
    assert!(
        stdout.starts_with(&first) && stdout.ends_with(&first),
        "{stdout}"
    );
    let saved: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let saved = saved["messages"].as_array().unwrap();
    let roles: Vec<&str> = saved.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    let answers: Vec<&str> = [1, 3, 1]
        .iter()
        .map(|at| saved[*at]["content"].as_str().unwrap())
        .collect();
    assert_eq!(stdout, answers.join("\n") + "\n");

    let notes: Vec<&str> = stderr.lines().collect();
    assert_eq!(notes.len(), 5, "{stderr}");
    assert_eq!(notes[0], "nothing was said yet");
    let (one, two) = (numbers(notes[1]), numbers(notes[2]));
    assert_eq!(one[0], one[1], "a first prompt is read whole: {}", notes[1]);
    // The whole conversation is the prompt, of which the cache has all but a few tokens.
    assert!(two[1] > one[1] + one[3], "{}", notes[2]);
    assert!(two[0] < two[1] - one[1], "{}", notes[2]);
    assert!(notes[2].contains("decode state"), "{}", notes[2]);
    assert!(notes[4].contains("no `/nonsense`"), "{}", notes[4]);
}

#[test]
fn a_drafter_changes_no_reply_and_a_system_turn_does() {
    let lines = [
        "Copy: one two three one two three",
        "/stats",
        "Say it again",
    ];
    let (plain, _) = chat(&["--max-tokens", "24"], &lines);
    let (drafted, stderr) = chat(
        &[
            "--max-tokens",
            "24",
            "--speculate",
            "ngram",
            "--draft-tokens",
            "3",
        ],
        &lines,
    );
    assert_eq!(drafted, plain);
    assert!(stderr.contains("% of the drafts accepted"), "{stderr}");
    let system = ["/system You are a pirate who answers in songs", lines[0]];
    let by_command = chat(&["--max-tokens", "24"], &system).0;
    let text = "You are a pirate who answers in songs";
    let by_flag = chat(&["--max-tokens", "24", "--system", text], &lines[..1]).0;
    assert_eq!(by_command, by_flag);
    let without = chat(&["--max-tokens", "24"], &lines[..1]).0;
    assert_ne!(by_command, without);
}

/// Arguments for a reply that takes far longer than a test waits.
const ENDLESS: &[&str] = &["--temperature", "5", "--max-tokens", "1000000"];

#[test]
fn ctrl_c_ends_a_reply_and_not_the_conversation() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(MODEL)
        .args(ENDLESS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    writeln!(stdin, "Tell me everything").unwrap();
    let mut begun = [0; 1];
    std::io::Read::read_exact(&mut stdout, &mut begun).unwrap();
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    writeln!(stdin, "/stats").unwrap();
    // The stats come before the rest of the reply is asked for: nothing else has to be read for them.
    let drain = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("read "), "{line}");
    assert!(numbers(&line)[3] < 1e6, "{line}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drain.join().unwrap().unwrap();
}

#[test]
fn a_terminal_edits_lines_recalls_them_and_stops_replies() {
    let place = Workplace::new();
    let arguments = "chat --model builtin:tiny --temperature 5 --max-tokens 1000000";
    let Some(tmux) = Tmux::run(&place, (80, 24), arguments) else {
        return;
    };
    tmux.wait_for("type a message");
    tmux.wait_for_prompt();
    tmux.keys(&["/statz", "BSpace", "s", "Enter"]);
    tmux.wait_for("nothing was said yet");
    tmux.wait_for_prompt();
    // A line is thrown away, the program is not.
    tmux.keys(&["never said"]);
    tmux.wait_for("never said");
    tmux.keys(&["C-c"]);
    tmux.wait_for_prompt();
    tmux.keys(&["/nonsense", "Enter"]);
    tmux.wait_for("there is no `/nonsense`");
    tmux.wait_for_prompt();
    tmux.keys(&["Tell me everything", "Enter"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    tmux.keys(&["C-c"]);
    tmux.wait_for_prompt();
    // The line before the last one, from the history.
    tmux.keys(&["/stats", "Enter"]);
    tmux.wait_for("prompt tokens");
    tmux.wait_for_prompt();
    tmux.keys(&["C-l", "Up", "Up", "Up", "Enter"]);
    tmux.wait_for("there is no `/nonsense`");
    tmux.keys(&["C-d"]);
    tmux.wait_for("exit 0");
}
