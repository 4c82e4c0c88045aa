"""The README's way from a built binary to a conversation with one's own hybrid, written down with what it printed and how long it took.

    cargo build --release -p distill
    python3 tests/interop/first_ten_minutes.py target/release/distill docs/first-ten-minutes.md [NOTE]

Runs in a temporary folder and needs nothing but the binary and this file: the teacher is the one in the binary. Ends with exit
code 1, and writes nothing, where a command fails or says something else than it should. NOTE is said beside the figures.
"""
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

RUN = "runs/tiny-mamba2-sweep-1"
HYBRID = f"{RUN}/checkpoints/chain/50-dpo"
STORY = "Tell me a story about a dog."
# Lines that are shown of a long output, at its start and its end.
HEAD, TAIL = 10, 16

STEPS = [
    ("Is this machine all right?", "distill doctor", None, "0 failed"),
    ("What is the teacher?", "distill inspect builtin:tiny", None, "decode state"),
    ("Talk with it.", "distill chat --model builtin:tiny", f"{STORY}\n/stats\n", "tokens/s"),
    ("What would it take to do with half of its attention?", "distill sweep --dry-run --set sweep.attention_ratios=[0.5] --set sweep.controls=[]", None, "50 %"),
    ("Do it: convert, distil, fine-tune, prefer, measure.", "distill sweep --set sweep.attention_ratios=[0.5] --set sweep.controls=[]", None, "teacher"),
    ("Write it up, as a page to open in a browser.", f"distill report {RUN}", None, "50 %"),
    ("Talk with your own hybrid.", f"distill chat --model {HYBRID}", f"{STORY}\nAnd then?\n/stats\n", "tokens/s"),
    ("The same text, drafted by looking back: no token differs.", f'distill generate --model {HYBRID} --prompt "{STORY}" --speculate ngram', None, ""),
    ("Take it to other programs.", f"distill export --format hf --out my-hybrid {HYBRID}", None, ""),
]


def run(command, given, environment, folder):
    started = time.monotonic()
    done = subprocess.run(command, shell=True, input=given or "", env=environment, cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout, time.monotonic() - started


def serve(environment, folder):
    """Starts a server, asks it one question as any client would, and stops it."""
    started = time.monotonic()
    process = subprocess.Popen(["distill", "serve", "--model", HYBRID, "--port", "0"], env=environment, cwd=folder, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        line = process.stdout.readline().strip()
        url = line.removeprefix("listening on ") + "/chat/completions"
        body = json.dumps({"model": "50-dpo", "temperature": 0, "max_tokens": 24, "messages": [{"role": "user", "content": STORY}]})
        request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
        answer = urllib.request.urlopen(request, timeout=60).read().decode()
    finally:
        process.terminate()
        process.wait()
    command = f"distill serve --model {HYBRID} --port 0 &\ncurl {url} -H 'content-type: application/json' -d '{body}'"
    return command, f"{line}\n{answer}", time.monotonic() - started


def shown(output, folder):
    output = re.sub(r"\x1b\[[0-9;]*m", "", output).replace(folder, ".").rstrip()
    # Of a line that is drawn over itself, what it said last.
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in output.split("\n")]
    if len(lines) > HEAD + TAIL + 1:
        left_out = len(lines) - HEAD - TAIL
        lines = lines[:HEAD] + [f"[{left_out} lines left out]"] + lines[-TAIL:]
    return "\n".join(lines)


def main():
    binary, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    parts, total = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "100"}
        for title, command, given, expected in STEPS:
            print(command, file=sys.stderr, flush=True)
            code, output, seconds = run(command, given, environment, folder)
            if code != 0 or expected not in output:
                sys.exit(f"`{command}` ended with {code}, without `{expected}` or as a failure:\n{output}")
            total += seconds
            typed = "".join(f"> {line}\n" for line in (given or "").splitlines())
            typed = f"Typed:\n\n```text\n{typed}```\n\n" if typed else ""
            parts.append(f"## {title}\n\n```sh\n{command}\n```\n\n{typed}```text\n{shown(output, folder)}\n```\n\n{seconds:.1f} s\n")
        command, output, seconds = serve(environment, folder)
        total += seconds
        parts.append(f"## Or let any client of OpenAI's interface talk with it.\n\n```sh\n{command}\n```\n\n```text\n{output}\n```\n\n{seconds:.1f} s\n")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    note = "".join(f", {text}" for text in sys.argv[3:4])
    today, cores = datetime.date.today().isoformat(), len(os.sched_getaffinity(0))
    head = (
        "# The first ten minutes\n\n"
        "From a built binary (`cargo build --release -p distill`) to a conversation with a hybrid of one's own, no download, no GPU. A script wrote this page\n"
        "down: every output is what the command printed, long ones with their middle left out.\n\n"
        "```sh\npython3 tests/interop/first_ten_minutes.py target/release/distill docs/first-ten-minutes.md\n```\n\n"
        f"{today}, {cores} cores, {platform.machine()}, backend `flex`, commit `{commit}`{note}: {total / 60:.1f} minutes in all.\n"
    )
    out.write_text(head + "\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
