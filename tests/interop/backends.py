#!/usr/bin/env python3
"""One model through two builds of `distill`, which differ in their backend: do they compute the same?

    python3 tests/interop/backends.py target/release/distill target/tch/release/distill

The first is the reference. Exits with 1 and says what differs if the second fails a self-test, or if perplexity, greedy text, the first
step of training or what a short sweep ends with are not the reference's.
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEXT = os.path.join(ROOT, "LICENSE-APACHE")
FIXTURES = os.path.join(ROOT, "tests", "fixtures", "mamba")
GOLDEN = [os.path.join(FIXTURES, f"kernel_{name}.safetensors") for name in ("gated_norm", "selective_scan", "ssd", "verify")]
PROMPTS = ["Tell me a story.", "Repeat this list: red, blue, green.", "What does a bee do?"]
# What floats summed in another order may differ by, of the value.
PERPLEXITY, FIRST_STEP = 1e-4, 1e-4
# Twenty-eight steps later on a student of 50 %: differences grow with every update.
SWEEP = 1e-3
SHORT = [
    "sweep.attention_ratios=[0.5]", "sweep.controls=[]", "data.pseudo_labels=64", "data.pseudo_label_temperature=0",
    "distillation.steps=20", "distillation.warmup_steps=4", "sft.steps=4", "sft.warmup_steps=1", "dpo.steps=4", "dpo.warmup_steps=1",
    "eval.task_examples=4", "eval.perplexity_sequences=8", "eval.samples=0", "eval.speed_tokens=16",
]
failures = 0


def run(binary, *args):
    done = subprocess.run([binary, *args], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"FAIL  {binary} {args[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        sys.exit(1)
    return done.stdout


def check(name, passed, detail):
    global failures
    failures += not passed
    print(f"{'pass' if passed else 'FAIL'}  {name}: {detail}", flush=True)


def near(name, found, expected, within):
    off = abs(found - expected) / abs(expected)
    check(name, off <= within, f"{found:.7g} beside {expected:.7g}, {off:.1e} of it apart, at most {within:.0e} allowed")


def sweep(binary, folder):
    run(binary, "sweep", "--no-tui", "--out", folder, *(word for value in SHORT for word in ("--set", value)))
    with open(os.path.join(folder, "events.jsonl")) as log:
        return [json.loads(line) for line in log]


def main():
    reference, other = sys.argv[1:]
    last = run(other, "doctor", "--golden", *GOLDEN).strip().splitlines()[-1]
    check("doctor", last.endswith(" 0 failed"), last)
    both = [json.loads(run(b, "eval", "perplexity", "--model", "builtin:tiny", "--text", TEXT, "--max-tokens", "2048", "--json")) for b in (other, reference)]
    near("perplexity of builtin:tiny", *(one["perplexity"] for one in both), PERPLEXITY)
    for prompt in PROMPTS:
        found, expected = (run(b, "generate", "--model", "builtin:tiny", "--prompt", prompt, "--max-tokens", "48") for b in (other, reference))
        check(f"greedy text after `{prompt}`", found == expected and found.strip() != "", repr(found if found == expected else (found, expected)))
    with tempfile.TemporaryDirectory() as folder:
        found, expected = (sweep(b, os.path.join(folder, name)) for b, name in ((other, "other"), (reference, "reference")))
    names = [next(e for e in log if e["event"] == "run-started")["backend"] for log in (found, expected)]
    check("backends", names[0] != names[1], " beside ".join(names))
    first = [next(e for e in log if e["event"] == "step") for log in (found, expected)]
    for field in ("loss", "kl", "grad_norm"):
        near(f"{field} of the first step", *(step[field] for step in first), FIRST_STEP)
    scores = [{e["stage"]: e["perplexity"] for e in log if e["event"] == "evaluated"} for log in (found, expected)]
    check("stages of the sweep", scores[0].keys() == scores[1].keys() and len(scores[0]) == 4, ", ".join(map(str, scores[0])))
    for stage in scores[1]:
        near(f"perplexity after {stage or 'nothing, of the teacher'}", scores[0][stage], scores[1][stage], SWEEP)
    print("all agree" if failures == 0 else f"{failures} differ")
    sys.exit(failures != 0)


main()
