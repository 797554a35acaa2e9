"""What brings a student nearer to the speech embedding on speakers whom neither heard: more voices made from three, or more weights?

Usage: POTSTILL_DATA=... python benchmarks/spoken_digits.py [--seeds N] [--threads N]

Each row is recipes/spoken-digits.yaml with what is said changed, without controls: the same teacher, split and test speakers. Goes on where it
was stopped; writes docs/results/spoken-digits-ways.md and .json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _measure as measure

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
SPEED = 1  # place of `sound-speed` among the augmentations
WAYS: dict[str, dict[str, Any]] = {
    "6 views": {"labels.views": 6},
    "16 views, the recipe": {},
    "12 views, speed and pitch ±25 % instead of ±12 %": {"labels.views": 12, f"augment.{SPEED}.share": 0.25},
    "6 views, 48 channels wide": {"labels.views": 6, "student.width": 48},
    "6 views, 64 channels wide": {"labels.views": 6, "student.width": 64},
    "12 views, 40 bands, twice the epochs": {
        "labels.views": 12,
        "student.input.mels": 40,
        "steps.0.training.epochs": 80,
    },
}


def changed(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted paths of a recipe."""
    for path, value in changes.items():
        *parents, last = path.split(".")
        at: Any = recipe
        for part in parents:
            at = at[int(part) if part.isdigit() else part]
        at[last] = value
    return recipe


def tried(way: str, seeds: int, threads: int) -> dict[str, Any]:
    """Return what is kept of one way."""
    recipe = changed(yaml.safe_load((ROOT / "recipes" / "spoken-digits.yaml").read_text()), WAYS[way])
    name = f"spoken-digits-way-{list(WAYS).index(way)}"
    found, _ = measure.run_recipe(recipe | {"name": name, "seeds": seeds, "controls": []}, threads)
    arm = found["arms"][0]
    return {"way": way, "params": found["models"]["student"]["params"], "macs": found["models"]["student"]["macs"], "seeds": arm["seeds"],
            "accuracy": arm["accuracy"]["value"], "per_seed": arm["per_seed"], "teacher": found["teacher"]["accuracy"]["value"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    from potstill.core.fingerprint import environment

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    rows = [tried(way, given.seeds, given.threads) for way in WAYS]
    machine = environment()
    text = ["# Spoken digits: ways to come nearer to the teacher", "", " ".join((__doc__ or "").split("\n\n")[2].split()), "",
            "| way | parameters | MACs | accuracy | by seed | behind the teacher, points |", "|---|---|---|---|---|---|"]  # fmt: skip
    for r in rows:
        text.append(f"| {r['way']} | {r['params']:,} | {r['macs']:,} | {100 * r['accuracy']:.1f} % | "
                    f"{', '.join(f'{100 * v:.1f}' for v in r['per_seed'])} | {100 * (r['teacher'] - r['accuracy']):.1f} |")  # fmt: skip
    text += ["", f"Two test speakers, so no interval is given: it would be over two. Command: `python benchmarks/spoken_digits.py`; commit "
             f"{commit.stdout.strip()}, {datetime.now(UTC):%Y-%m-%d}, {machine['cpu']}, {machine['cores']} cores."]  # fmt: skip
    (RESULTS / "spoken-digits-ways.md").write_text("\n".join(text) + "\n")
    (RESULTS / "spoken-digits-ways.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
