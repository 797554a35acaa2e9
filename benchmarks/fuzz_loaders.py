"""Damage files of every format that potstill loads, load them, and write what came of it to docs/results/fuzz.md (and .json).

Usage: python benchmarks/fuzz_loaders.py [--files N] [--seed N] [--pte N]

The wounds are those of tests/faults/_faults_loaders.py, which gives a small dose of them. Each file is loaded in a process of its own with
8 GiB of memory; a native runtime that parses it does so in a child of that one, as `potstill verify` has it. ExecuTorch takes seconds to
start, so its files are fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before anything imports torch or NumPy

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests"), str(ROOT / "src")]
RESULTS = ROOT / "docs" / "results"

from _faults import Broken, Trial, fresh, scratch_folder  # noqa: E402
from _faults_loaders import LOADERS, LoadersHurt  # noqa: E402

from forks import Server  # noqa: E402


def plan(files: int, pte: int) -> list[tuple[str, str, int]]:
    """Return (format, wound, number) of each file: formats and wounds by turns, so that each has as many."""
    others = [kind for kind in LOADERS if kind != "pte"]
    found = []
    for kind, count in [*((k, (files - pte) // len(others)) for k in others), ("pte", pte)]:
        names = list(LOADERS[kind].wounds)
        found += [(kind, names[i % len(names)], i) for i in range(count)]
    return found


def give(jobs: list[tuple[str, str, int]], seed: int) -> tuple[Counter[tuple[str, str, str]], list[str]]:
    """Load every file; return how many ended how, and what was broken."""
    ended: Counter[tuple[str, str, str]] = Counter()
    broken: list[str] = []
    scratch = scratch_folder()
    server = Server(scratch / "log")
    try:
        fault = LoadersHurt(fresh(scratch / "fault"), server)
        for done, (kind, name, number) in enumerate(jobs):
            out = Trial()
            try:
                fault.give(kind, name, f"{seed}/{number}", out)
                how = next(iter(out.ended)).rsplit(": ", 1)[1]
            except Broken as err:
                how = "broken"
                broken.append(str(err))
                print(err, flush=True)
            ended[kind, name, how] += 1
            if done % 100 == 99:
                print(f"{done + 1} of {len(jobs)} files, {len(broken)} broken", flush=True)
    finally:
        server.close()
        shutil.rmtree(scratch, ignore_errors=True)
    return ended, broken


def page(results: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Damaged files", "",
        f"Written by `{results['command']}`. {results['files']:,} files, {len(results['broken'])} broken promises. "
        f"Promised of each: {results['promise']}. The same wounds in a small dose are in `tests/faults`.", "",
        "| format | wound | files | refused by name | loaded | broken |", "|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in results["rows"]:
        counts = [row[how] for how in ("refused", "loaded", "broken")]
        lines.append(f"| {row['format']} | {row['wound']} | {' | '.join(map(str, (sum(counts), *counts)))} |")
    lines += ["", *(f"- broken: {p.splitlines()[0][:300]}" for p in results["broken"])]
    packages = ", ".join(f"{k} {v}" for k, v in results["machine"]["packages"].items())
    lines += [
        "", "What loads is valid: JSON and YAML within their schemas, models that give finite numbers. NaN among a model's weights, and "
        "external weights outside its folder, are always refused. A flipped bit of a weight leaves a model that is as valid as before: "
        "that it is another one only its digest shows, which a run's manifest keeps.", "",
        f"{results['seconds']:,.0f} s on {results['machine']['cores']} cores of {results['machine']['cpu']}, "
        f"{results['machine']['system']}; {packages}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Give, write; exit code 1 where a promise broke."""
    parser = argparse.ArgumentParser(description="Damaged files of every format.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--pte", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from potstill.core.fingerprint import environment

    started, machine = time.monotonic(), environment()
    ended, broken = give(plan(args.files, args.pte), args.seed)
    rows = [
        {"format": kind, "wound": name, **{how: ended[kind, name, how] for how in ("refused", "loaded", "broken")}}
        for kind, name in dict.fromkeys((kind, name) for kind, loader in LOADERS.items() for name in loader.wounds)
    ]
    results = {
        "command": f"python benchmarks/fuzz_loaders.py --files {args.files} --pte {args.pte} --seed {args.seed}",
        "promise": LoadersHurt.promise, "files": sum(ended.values()), "rows": rows, "broken": broken,
        "machine": {k: machine[k] for k in ("cpu", "cores", "system", "packages")},
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    (RESULTS / "fuzz.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "fuzz.md").write_text(page(results))
    print(page(results))
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
