#!/usr/bin/env python3
"""How fast is one build of `distill` beside another, on work that both do alike?

    python3 tests/interop/speed_of_builds.py target/release/distill target/x86_64-unknown-linux-musl/release/distill [--model GGUF] [--rounds 5]

The builds run in turn, so that whatever else the machine does meets both. Of each kind of work: the second build's time over the first's,
as the median of the rounds and their least and most, by the clock and by processor time (user and system).
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "LICENSE-APACHE")
SHORT = [
    "sweep.attention_ratios=[0.5]", "sweep.controls=[]", "data.pseudo_labels=64", "distillation.steps=20", "distillation.warmup_steps=4",
    "sft.steps=4", "sft.warmup_steps=1", "dpo.steps=4", "dpo.warmup_steps=1", "eval.task_examples=4", "eval.perplexity_sequences=8",
    "eval.samples=0", "eval.speed_tokens=16",
]


def work(model):
    """Name and arguments of each kind of work."""
    yield "speed, tiny", ["eval", "speed", "--model", "builtin:tiny", "--decode-tokens", "256", "--rounds", "8"]
    yield "speed, tiny, 32 at once", ["eval", "speed", "--model", "builtin:tiny", "--batch", "32", "--decode-tokens", "64", "--rounds", "3"]
    yield "sweep, tiny, short", ["sweep", "--no-tui", *(word for value in SHORT for word in ("--set", value))]
    if model:
        yield "generate, 96 tokens", ["generate", "--model", model, "--raw", "--prompt", "The history of the sea is", "--max-tokens", "96"]
        yield "perplexity, 1,024 tokens", ["eval", "perplexity", "--model", model, "--text", TEXT, "--max-tokens", "1024"]


def took(binary, arguments):
    """Seconds by the clock and of the processor, and the most memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        process = subprocess.Popen([binary, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{binary} {arguments[0]} ended with {process.returncode}")
        return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("builds", nargs=2)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    builds = [os.path.abspath(build) for build in given.builds]
    print("work | clock | processor | first's seconds, MiB at most | second's")
    for name, arguments in work(given.model and os.path.abspath(given.model)):
        rounds = [[took(build, arguments) for build in builds] for _ in range(given.rounds)]
        clock, processor = ([second[i] / first[i] for first, second in rounds] for i in (0, 1))
        each = [f"{statistics.median(r[b][0] for r in rounds):.2f} s, {max(r[b][2] for r in rounds):.0f} MiB" for b in (0, 1)]
        print(f"{name} | {spread(clock)} | {spread(processor)} | {each[0]} | {each[1]}", flush=True)


main()
