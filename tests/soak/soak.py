"""Runs a sweep, two watchers of it and a server under requests at once, and says whether their memory stays flat.

    cargo build --release -p distill
    python3 tests/soak/soak.py target/release/distill --minutes 120

Everything runs on this machine, on loopback, in a temporary folder. The sweep trains the tiny teacher's first student until it is told
to stop. Clients ask for whole and streamed replies, leave in the middle of some, and send requests that are wrong. Resident memory is
read from /proc; the second quarter of the time is compared with the last, medians of both, so that warming up does not count.
"""
import argparse
import http.client
import json
import os
import pty
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# More than this share, and this many MiB, from the second quarter to the last is growth.
SHARE, MIB = 1.05, 8


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Clients:
    """Threads that send requests until they are stopped."""

    def __init__(self, port, count):
        self.port, self.stopping, self.complaints = port, threading.Event(), set()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as response:
            self.model = json.load(response)["data"][0]["id"]
        self.counts, self.lock = {"whole": 0, "streamed": 0, "left": 0, "refused": 0, "failed": 0}, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(seed,), daemon=True) for seed in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, seed):
        draw = random.Random(seed)
        while not self.stopping.is_set():
            kind = draw.choice(["whole", "streamed", "left", "refused"])
            try:
                self.ask(kind, draw)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.complaints.add(f"{kind}: {error!r}")
                kind = "failed"
            with self.lock:
                self.counts[kind] += 1

    def ask(self, kind, draw):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = {"model": self.model, "prompt": "The snake " * draw.randint(1, 8), "max_tokens": draw.randint(1, 32), "stream": kind != "whole"}
        text = json.dumps(body)
        if kind == "refused":
            text = draw.choice(["{", "[]", json.dumps(body | {"max_tokens": -1}), json.dumps(body | {"n": 3}), "\0" * 2000])
        connection.request("POST", "/v1/completions", text, {"content-type": "application/json"})
        response = connection.getresponse()
        if kind == "left":
            response.read(1)
        else:
            response.read()
            assert response.status == (400 if kind == "refused" else 200), response.status
        connection.close()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(130)


def steps_of(run):
    path = os.path.join(run, "events.jsonl")
    if not os.path.exists(path):
        return 0
    with open(path, "rb") as file:
        return sum(b'"event":"step"' in line for line in file)


def ended(program):
    """Exit code of a program that was told to stop."""
    try:
        return program.wait(120)
    except subprocess.TimeoutExpired:
        program.kill()
        return "killed after 120 s"


def drained(descriptor):
    """Reads what a terminal shows, so that the program in it is never made to wait."""

    def read():
        try:
            while os.read(descriptor, 1 << 16):
                pass
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distill")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--every", type=float, default=2, help="seconds between two looks at the memory")
    options = parser.parse_args()
    distill = os.path.abspath(options.distill)
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        short = ["data.pseudo_labels=16", "eval.task_examples=2", "eval.perplexity_sequences=8", "eval.samples=0"]
        endless = ["distillation.steps=300000", "distillation.batch_size=2", "checkpoint.every_steps=50"]
        changes = [part for change in short + endless for part in ("--set", change)]
        sweep = subprocess.Popen([distill, "sweep", "--no-tui", "--out", run] + changes, **quiet)
        serve = subprocess.Popen(
            [distill, "serve", "--model", "builtin:tiny", "--port", "0"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        port = int(re.search(r":(\d+)/", serve.stdout.readline())[1])
        while not steps_of(run):
            assert sweep.poll() is None, "the sweep has ended"
            time.sleep(0.5)
        lines = subprocess.Popen([distill, "watch", run, "--log-format", "json"], **quiet)
        ours, theirs = pty.openpty()
        board = subprocess.Popen([distill, "watch", run], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        drained(ours)
        programs = {"sweep": sweep, "serve": serve, "watch (lines)": lines, "watch (dashboard)": board}
        samples = {name: [] for name in programs}
        clients = Clients(port, options.clients)
        started = time.monotonic()
        while time.monotonic() - started < 60 * options.minutes:
            time.sleep(options.every)
            for name, program in programs.items():
                if program.poll() is not None:
                    print(f"{name} ended with {program.returncode}")
                    ok = False
                    continue
                samples[name].append(resident_mib(program.pid))
            if not ok:
                break
        clients.stop()
        trained = steps_of(run)
        log_mib = os.path.getsize(os.path.join(run, "events.jsonl")) / 2**20
        for name, program in programs.items():
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
        ends = {name: ended(program) for name, program in programs.items()}
        print(f"{(time.monotonic() - started) / 60:.1f} minutes, {trained} steps, {log_mib:.1f} MiB of log, requests {clients.counts}")
        for complaint in sorted(clients.complaints)[:10]:
            print(complaint)
        print("| program | second quarter, MiB | last quarter, MiB | most, MiB | exit code |")
        print("|---|---|---|---|---|")
        for name, found in samples.items():
            quarter = max(len(found) // 4, 1)
            before, after = (statistics.median(part or [0]) for part in (found[quarter : 2 * quarter], found[-quarter:]))
            is_flat = after <= max(before * SHARE, before + MIB)
            ok &= is_flat
            grown = "" if is_flat else " GROWN"
            print(f"| {name} | {before:.1f} | {after:.1f}{grown} | {max(found, default=0):.1f} | {ends[name]} |")
        ok &= ends["sweep"] == 130 and ends["serve"] == 0 and clients.counts["failed"] == 0
    print("ok" if ok else "FAILED")
    sys.exit(not ok)


if __name__ == "__main__":
    main()
