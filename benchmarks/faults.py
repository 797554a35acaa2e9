"""Give full doses of every fault and write what came of them to docs/results/faults.md (and .json).

Usage: python benchmarks/faults.py [--dose small|full] [--only NAME] [--seed N] [--fresh]

The faults are those of tests/faults, which gives small doses. Each finished trial is a line of runs/faults/<dose>.jsonl:
stopped at any moment, the same command goes on from there; --fresh starts over. NAME is part of a fault's name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before anything imports torch or NumPy

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests"), str(ROOT / "src")]
RESULTS = ROOT / "docs" / "results"
LEDGERS = ROOT / "runs" / "faults"

from _faults import Fault, fresh, scratch_folder, trials  # noqa: E402
from _faults_bits import ArtifactFlips, FlipsWhileTraining, StoreFlips  # noqa: E402
from _faults_codecs import Codecs  # noqa: E402
from _faults_disk import CannotMount  # noqa: E402
from _faults_inputs import INPUTS  # noqa: E402
from _faults_kills import GroupKilled, GroupWaits, StagesKilled, TrainingKilled  # noqa: E402
from _faults_labels import CutWhileRead, DiskFull, FilesTorn, LabellingKilled, TwoWriters  # noqa: E402
from _faults_recipes import RecipesHurt  # noqa: E402
from _faults_runs import ChangedWhileRun, CommandKilled, LiveTeacher, RunDiskFull, TwoRuns  # noqa: E402

from forks import Server  # noqa: E402

FAULTS: tuple[type[Fault], ...] = (
    TrainingKilled, CommandKilled, GroupKilled, GroupWaits, StagesKilled, LabellingKilled, TwoWriters, TwoRuns, FilesTorn,
    CutWhileRead, StoreFlips, ArtifactFlips, FlipsWhileTraining, DiskFull, RunDiskFull, ChangedWhileRun, LiveTeacher,
    Codecs, *INPUTS, RecipesHurt,
)  # fmt: skip


class Ledger:
    """Finished trials, one JSON line each.

    Args:
        path: of the file; a torn last line is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines: list[dict[str, Any]] = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                break
        path.write_text("".join(json.dumps(entry) + "\n" for entry in self.lines))

    def of(self, name: str, seed: int) -> list[dict[str, Any]]:
        """Return the trials of a fault."""
        return [entry for entry in self.lines if entry["name"] == name and entry["seed"] == seed]

    def add(self, entry: dict[str, Any]) -> None:
        """Append a trial, at once on disk."""
        self.lines.append(entry)
        with open(self.path, "a") as handle:
            handle.write(json.dumps(entry) + "\n")


def commit() -> str:
    """Return the short hash that is checked out, with a + where the sources differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "src", "tests/faults") else "")


def give(kind: type[Fault], doses: int, seed: int, ledger: Ledger, scratch: Path, server: Server) -> None:
    """Give what is missing of a fault's doses."""
    before = ledger.of(kind.name, seed)
    given, index = sum(e["doses"] for e in before), 1 + max((e["index"] for e in before), default=-1)
    if given >= doses:
        return
    source = commit()
    print(f"{kind.name}: {doses - given:,} {kind.unit} to give", flush=True)
    fault = kind(fresh(scratch / "fault"), server)
    try:
        for record in trials(fault, doses, seed, index, given):
            date = datetime.now(UTC).isoformat(timespec="seconds")
            ledger.add({**asdict(record), "seed": seed, "commit": source, "date": date})
            if record.problem:
                print(f"  trial {record.index}: {record.problem}", flush=True)
    except CannotMount as err:
        print(f"  not given: no process may mount a disk of its own here: {err}")


def summary(kind: type[Fault], dose: str, seed: int, ledger: Ledger) -> dict[str, Any]:
    """Return what is known of a fault."""
    kept = ledger.of(kind.name, seed)
    return {
        "name": kind.name,
        "promise": kind.promise,
        "unit": kind.unit,
        "wanted": getattr(kind, dose),
        "given": sum(e["doses"] for e in kept),
        "trials": len(kept),
        "broken": sum(e["problem"] is not None for e in kept),
        "problems": [f"trial {e['index']}: {e['problem']}" for e in kept if e["problem"]][:20],
        "ended": dict(sum((Counter(e["ended"]) for e in kept), Counter())),
        "seconds": round(sum(e["seconds"] for e in kept), 1),
        "commits": sorted({e["commit"] for e in kept}),
        "dates": [min((e["date"] for e in kept), default=None), max((e["date"] for e in kept), default=None)],
    }


def page(results: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Faults", "",
        f"Written by `python benchmarks/faults.py`; the same faults in small doses are in `tests/faults`. Dose "
        f"{results['dose']}, seed {results['seed']}. A trial gives one or more doses, chosen at random by its number; it is "
        "broken where the promise beside it does not hold.", "",
        "| fault | the promise | given | trials | broken |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for f in results["faults"]:
        given = f"{f['given']:,}" + ("" if f["given"] >= f["wanted"] else f" of {f['wanted']:,}")
        lines.append(f"| {f['name']} | {f['promise']} | {given} {f['unit']} | {f['trials']:,} | {f['broken']} |")
    lines += ["", "## How they ended", ""]
    for f in results["faults"]:
        ends = "; ".join(f"{what}: {count:,}" for what, count in sorted(f["ended"].items()))
        if f["trials"]:
            lines.append(
                f"- **{f['name']}** ({f['seconds']:,.0f} s, commit {', '.join(f['commits'])}, {f['dates'][0]} to "
                f"{f['dates'][1]}): {ends}."
            )
        lines += [f"    - broken: {p.splitlines()[0][:300]}" for p in f["problems"]]
    packages = ", ".join(f"{k} {v}" for k, v in results["machine"]["packages"].items())
    lines += [
        "", "## Where", "",
        f"{results['machine']['cores']} cores of {results['machine']['cpu']}, {results['machine']['system']}; {packages}. "
        f"Command: `{results['command']}`. A process that is killed here loses nothing that it gave to the kernel: a power "
        "cut is not tried. What is promised for it is in the order of writing, syncing and renaming, which "
        "`tests/faults/test_faults_durable.py` checks.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def write(dose: str, seed: int, ledger: Ledger) -> None:
    """Write the JSON and the page of everything known so far."""
    from potstill.core.fingerprint import environment

    machine = environment()
    results = {
        "dose": dose,
        "seed": seed,
        "command": f"python benchmarks/faults.py --dose {dose} --seed {seed}",
        "machine": {k: machine[k] for k in ("cpu", "cores", "system", "packages")},
        "faults": [summary(kind, dose, seed, ledger) for kind in FAULTS],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "faults.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "faults.md").write_text(page(results))


def main() -> int:
    """Give, keep, write; exit code 1 where a promise broke."""
    parser = argparse.ArgumentParser(description="Full doses of every fault.")
    parser.add_argument("--dose", choices=["small", "full"], default="full")
    parser.add_argument("--only", default="", help="part of a fault's name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="forget earlier trials")
    args = parser.parse_args()
    path = LEDGERS / f"{args.dose}.jsonl"
    if args.fresh:
        path.unlink(missing_ok=True)
    ledger, scratch = Ledger(path), scratch_folder()
    chosen = [kind for kind in FAULTS if args.only in kind.name]
    if not chosen:
        parser.error(f"--only must be part of: {', '.join(kind.name for kind in FAULTS)}")
    server = Server(scratch / "log")
    try:
        for kind in chosen:
            give(kind, getattr(kind, args.dose), args.seed, ledger, scratch, server)
            write(args.dose, args.seed, ledger)
    finally:
        server.close()
        shutil.rmtree(scratch, ignore_errors=True)
    print((RESULTS / "faults.md").read_text())
    return int(any(e["problem"] for kind in chosen for e in ledger.of(kind.name, args.seed)))


if __name__ == "__main__":
    raise SystemExit(main())
