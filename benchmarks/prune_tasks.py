"""Pruned and distilled at once, beyond pictures: what does a teacher win back that labels alone do not?

Usage: POTSTILL_DATA=... python benchmarks/prune_tasks.py [clinc150] [spoken-digits-mcu] [--seeds 3] [--threads 1]    # goes on where it was stopped

Each student of a shipped recipe is distilled (whole), cut to 40 % of its parameters or fewer, and trained on for as many epochs: by its teacher
(joint), or by the labels alone (plain). Writes docs/results/prune_tasks.md and .json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _measure as measure

CUTS = {
    "clinc150": {"kind": "prune", "budget": {"params": 0.4}, "importance": "taylor", "round_to": 8},
    "spoken-digits-mcu": {"kind": "prune", "budget": {"params": 86000}, "importance": "taylor", "round_to": 4},
}
ARMS = ("whole", "joint", "plain")


def recipe_of(task: str, arm: str, seeds: int) -> dict[str, Any]:
    """Return a shipped recipe, changed."""
    raw: dict[str, Any] = yaml.safe_load((measure.ROOT / "recipes" / f"{task}.yaml").read_text())
    raw |= {"seeds": seeds, "controls": [], "export": [], "name": f"prune-{task}-{arm}"}
    raw.pop("devices", None)
    first = raw["steps"][0]
    again = next((s for s in raw["steps"][1:] if s["kind"] == "distill"), first)
    if arm == "plain":
        again = {**again, "objectives": [{"kind": "hard-label"}]}
    raw["steps"] = [first] if arm == "whole" else [first, CUTS[task], again]
    return raw


def ran(task: str, arm: str, seeds: int, threads: int) -> dict[str, Any]:
    """Run an arm and return what is kept of it."""
    found, _ = measure.run_recipe(recipe_of(task, arm, seeds), threads)
    model = found["models"]["student"]
    return {"per_seed": found["arms"][0]["per_seed"], "seeds": found["arms"][0]["seeds"], "params": model["params"], "macs": model["macs"],
            "teacher": found["teacher"]["accuracy"]["value"]}  # fmt: skip


def said(arms: dict[str, Any]) -> str:
    """Return a task's part of the page."""
    whole, joint = arms["whole"], arms["joint"]
    rows = [
        [arm, f"{100 * np.mean(found['per_seed']):.2f} %", f"{found['params']:,} ({found['params'] / whole['params'] - 1:+.0%})",
         f"{found['macs'] / 1e6:.2f} M ({found['macs'] / whole['macs'] - 1:+.0%})",
         "" if arm == "whole" else measure.paired(found["per_seed"], whole["per_seed"]),
         measure.paired(joint["per_seed"], found["per_seed"]) if arm == "plain" else ""]
        for arm, found in arms.items()
    ]  # fmt: skip
    head = ["arm", "accuracy, mean of seeds", "parameters", "MACs", "against the whole, points", "joint's gain over it"]
    fewer = [1 - joint[k] / whole[k] for k in ("params", "macs")]
    met = fewer[0] >= 0.6 and fewer[1] >= 0.5 and np.mean(whole["per_seed"]) - np.mean(joint["per_seed"]) <= 0.01
    goal = measure.verdict(bool(met), "60 % fewer parameters, 50 % fewer MACs, within one point of the whole, by means")
    return f"Teacher {100 * whole['teacher']:.1f} %.\n\n{measure.table(head, rows)}\n\nGoal {goal}. Intervals are over seeds."


def page(record: dict[str, Any]) -> None:
    say = {task: lambda arms, task=task: f"## {task}\n\n{said(arms)}" for task in CUTS}  # type: ignore[misc]
    whole = {task: part for task, part in record.items() if set(ARMS) <= set(part["figures"])}
    measure.write("prune_tasks", "Pruning with a teacher, beyond pictures", say, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=[*CUTS], choices=[*CUTS], metavar="TASK")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    record = measure.kept("prune_tasks")
    for task in given.tasks:
        arms = {arm: ran(task, arm, given.seeds, given.threads) for arm in ARMS}
        record[task] = {"figures": arms, "machine": measure.machine(f"0 to {given.seeds - 1}")}
        page(record)


if __name__ == "__main__":
    main()
