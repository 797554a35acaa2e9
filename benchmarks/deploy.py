"""From a recipe to a verdict on a device: run the recipes that name one, and keep what each artifact gave and what stands in the way.

Usage: POTSTILL_DATA=... python benchmarks/deploy.py [NAME ...] [--threads N]     # default: all of RUNS; goes on where it was stopped

Each is `potstill run`, as a user gives it; exit code 3 means that a device does not take the student. Writes docs/results/deploy.md and .json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _measure import kept, machine, table, write

ROOT = Path(__file__).resolve().parent.parent
RUNS = ("spoken-digits-litert", "cifar10-raspberry-pi", "clinc150-phone")


def ran(name: str, threads: int) -> dict[str, Any]:
    """Run a recipe and return what is kept of it."""
    out = ROOT / "runs" / name
    command = ["potstill", "run", f"recipes/{name}.yaml", "--threads", str(threads)]
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
    if code not in (0, 3):
        raise SystemExit(f"{' '.join(command)}: ended with {code}")
    found = json.loads((out / "results.json").read_text())
    return {
        "recipe": name, "exit_code": code, "command": " ".join(command), "seeds": found["arms"][0]["seeds"], "teacher": found["teacher"]["accuracy"],
        "arms": {a["name"]: {"value": a["accuracy"]["value"], "per_seed": a["per_seed"]} for a in found["arms"]},
        "params": found["models"]["student"]["params"], "quantised": found["quantised"], "artifacts": found["artifacts"], "verdicts": found["verdicts"],
    }  # fmt: skip


def said(run: dict[str, Any]) -> str:
    """Return a recipe's part of the page."""
    arms = "; ".join(f"{name} {100 * a['value']:.1f} %" for name, a in run["arms"].items())
    weights = (
        "" if run["quantised"] is None else f" Weights in int8: {run['quantised']['weight_bytes']['kept']:,} bytes."
    )
    files = [
        [a["format"], f"{a['bytes']:,}", f"{100 * a['accuracy']['value']:.1f} %", f"{100 * a['accuracy_drop']:+.2f}",
         f"{a['latency_ms']['median']:.3g} ms", f"{a['latency_ratio']['value']:.3g}"]
        for a in run["artifacts"]
    ]  # fmt: skip
    lines = [
        [v["device"], v["export"], v["verdict"], x["name"], x["verdict"] or "no limit", x["word"],
         "" if x["limit"] is None else f"{x['limit']:,.6g}", x["reason"]]
        for v in run["verdicts"] for x in v["lines"]
    ]  # fmt: skip
    return "\n\n".join([
        f"## {run['recipe']}", f"Teacher {100 * run['teacher']['value']:.1f} %; {arms}; {run['params']:,} parameters, seeds {run['seeds']}.{weights} "
        f"`{run['command']}` ended with exit code {run['exit_code']}.",
        table(["file", "bytes", "accuracy through it", "points lost by it", "latency here, 1 thread", "of the teacher's"], files),
        table(["device", "file", "verdict", "line", "says", "source", "limit", "why"], lines),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*RUNS], choices=[*RUNS], metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    record = kept("deploy")
    for name in given.names:
        record[name] = {"figures": ran(name, given.threads), "machine": machine("0 to 2")}
        write("deploy", "From a recipe to a verdict on a device", dict.fromkeys(RUNS, said), record)


if __name__ == "__main__":
    main()
