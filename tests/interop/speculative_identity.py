#!/usr/bin/env python3
"""Greedy speculative decoding beside plain decoding, token for token, over hybrids of the embedded teacher.

usage: speculative_identity.py DISTILL [FOLDER]

Every ratio and mixer, 1 to 8 drafted tokens and `auto`, batches of 1 and of 4 prompts of different lengths, five drafters: n-grams (also rounds
without a draft), half of the model's layers, n-grams before those, the model itself (all accepted) and an untrained one (hardly any accepted).
Exit code 1 at a difference.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

RATIOS = ["0.5", "0.25", "0.125", "0"]
MIXERS = ["mamba1", "mamba2"]
TOKENS = "48"


def main() -> int:
    distill = sys.argv[1]
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    untrained = folder / "untrained"
    convert(distill, untrained, "0.5", "mamba2", ["--init", "random-layer"])
    compared = differing = 0
    print("| mixer | attention | tokens compared | replies that differ | accepted: ngram, self, ngram+self, the model, untrained |")
    print("|---|---:|---:|---:|---|")
    for mixer in MIXERS:
        for ratio in RATIOS:
            model = folder / f"{mixer}-{ratio}"
            convert(distill, model, ratio, mixer, [])
            drafters = ["ngram", "self", "ngram+self", str(model), str(untrained)]
            command = [distill, "bench", "speculative", "--model", str(model), "--json"]
            command += ["--tokens", TOKENS, "--ignore-stop", "--temperature", "0", "--rounds", "1"]
            for drafter in drafters:
                command += ["--drafter", drafter]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            same = found["agreement"]
            compared += same["compared"]
            differing += same["differing"]
            accepted = [accepted_of(found["rows"], drafter) for drafter in drafters]
            print(f"| {mixer} | {float(ratio):.1%} | {same['compared']} | {same['differing']} | {', '.join(accepted)} |", flush=True)
    print(f"\n{compared} tokens compared, {differing} replies differ")
    return int(differing > 0)


def convert(distill: str, out: Path, ratio: str, mixer: str, more: list[str]) -> None:
    command = [distill, "convert", "--model", "builtin:tiny", "--attention-ratio", ratio, "--mixer", mixer, "--out", str(out)]
    subprocess.run(command + more, check=True, capture_output=True)


def accepted_of(rows: list[dict], drafter: str) -> str:
    shares = [row["acceptance"] for row in rows if row["drafter"] == drafter and row["draft_tokens"] != "auto"]
    return f"{sum(shares) / len(shares):.0%}"


if __name__ == "__main__":
    sys.exit(main())
