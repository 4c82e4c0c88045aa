//! Programs that a model wrote, run where they can do no harm: in bubblewrap, without network, home or anything to write to, with
//! bounds on time, memory, files and processes.
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use eval::generative::{GenerativeScore, Question, completion};
use eval::statistics::Estimate;

use crate::error::DistillError;

/// The program that makes the sandbox, and what runs in it.
const SANDBOX: &str = "bwrap";
/// Time that a program has.
const LIMIT: Duration = Duration::from_secs(10);
/// What runs the program on its input, after it has bounded itself for good: 4 GiB of memory, 10 s of a processor, 64 MiB a file, 64
/// processes, no core dump.
const RUNNER: &str = "\
import resource, sys
for name, most in (('AS', 4 << 30), ('CPU', 10), ('FSIZE', 64 << 20), ('NPROC', 64), ('CORE', 0)):
    kind = getattr(resource, 'RLIMIT_' + name)
    now = resource.getrlimit(kind)[1]
    most = most if now == resource.RLIM_INFINITY else min(most, now)
    resource.setrlimit(kind, (most, most))
exec(compile(sys.stdin.read(), 'program', 'exec'), {'__name__': '__main__'})
";

/// Whether programs can be run here.
///
/// # Errors
/// [`DistillError::NoSandbox`].
pub fn check() -> Result<(), DistillError> {
    let probe = sandboxed(&["true"]).stdin(Stdio::null()).status();
    match probe {
        Ok(status) if status.success() => Ok(()),
        _ => Err(DistillError::NoSandbox),
    }
}

/// Grades every reply that is a program by whether it ends without an error.
///
/// # Errors
/// When the sandbox cannot be started.
pub fn grade(questions: &[Question], score: &mut GenerativeScore) -> anyhow::Result<()> {
    for (question, item) in questions.iter().zip(&mut score.items) {
        if let Some(program) = completion(question, &item.reply) {
            item.value = Some(f64::from(u8::from(passes(&program)?)));
        }
    }
    let values: Vec<f64> = score.items.iter().filter_map(|item| item.value).collect();
    score.score = Estimate::of(&values);
    Ok(())
}

/// A command in the sandbox: the system read-only, nothing of the user, no network, no other processes.
fn sandboxed(command: &[&str]) -> Command {
    let mut sandbox = Command::new(SANDBOX);
    sandbox
        .args([
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
        ])
        .args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"])
        .args([
            "--symlink",
            "usr/lib64",
            "/lib64",
            "--symlink",
            "usr/bin",
            "/bin",
        ])
        .args([
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp",
        ])
        .args(["--setenv", "PATH", "/usr/bin"])
        .args(command)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sandbox
}

fn passes(program: &str) -> anyhow::Result<bool> {
    let mut child = sandboxed(&["python3", "-I", "-c", RUNNER])
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{SANDBOX}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes its input; its status says the rest.
        let _ = stdin.write_all(program.as_bytes());
    }
    within(&mut child, LIMIT)
}

/// Whether a process ends well within `limit`; it is ended otherwise.
fn within(child: &mut Child, limit: Duration) -> anyhow::Result<bool> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_is_ended() {
        let start = |command: &str| Command::new("sh").args(["-c", command]).spawn().unwrap();
        let short = Duration::from_millis(200);
        assert!(within(&mut start("exit 0"), LIMIT).unwrap());
        assert!(!within(&mut start("exit 3"), LIMIT).unwrap());
        assert!(!within(&mut start("sleep 60"), short).unwrap());
    }

    #[test]
    fn programs_are_graded_where_there_is_a_sandbox() {
        if check().is_err() {
            return;
        }
        assert!(passes("assert 1 + 1 == 2").unwrap());
        assert!(!passes("assert 1 + 1 == 3").unwrap());
        assert!(!passes("def f(:").unwrap());
        assert!(
            passes("if __name__ == '__main__':\n    open('/tmp/probe', 'w').write('x')").unwrap()
        );
        assert!(!passes("open('/usr/probe', 'w')").unwrap());
        assert!(!passes("bytearray(8 << 30)").unwrap());
        assert!(!passes("open('/tmp/probe', 'w').write('x' * (65 << 20))").unwrap());
        assert!(!passes("import socket; socket.create_connection(('127.0.0.1', 22))").unwrap());
    }
}
