"""Run the shipped recipes and write what came of them to docs/results/recipes.md (and .json) and the README's table.

Usage: python benchmarks/recipes.py [NAME ...]      # default: digits digits-few-labels fashion-mnist cifar10

cifar10 needs POTSTILL_DATA, fashion-mnist the Debian package dataset-fashion-mnist; where they are missing this says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
RECIPES = ("digits", "digits-few-labels", "fashion-mnist", "cifar10")


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def figures(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a run."""
    models, artifact = results["models"], results["artifacts"][0]
    return {
        "recipe": name,
        "command": f"potstill run recipes/{name}.yaml",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": git("rev-parse", "--short", "HEAD"),
        "machine": {k: results["environment"][k] for k in ("cpu", "cores", "system", "packages")},
        "seeds": results["arms"][0]["seeds"],
        "data": results["data"],
        "saw_hidden_labels": results["teacher"]["saw_hidden_labels"],
        "teacher": {"accuracy": results["teacher"]["accuracy"], **models["teacher"]},
        "student": models["student"],
        "arms": [{k: a[k] for k in ("name", "accuracy", "per_seed", "steps", "seconds")} for a in results["arms"]],
        "gains": results["gains"],
        "onnx": {k: artifact[k] for k in ("bytes", "accuracy", "accuracy_drop", "latency_ms", "latency_ratio")},
        "seconds": round(sum(s["seconds"] for s in results["stages"]), 1),
    }


def table(kept: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [
        "# The shipped recipes", "",
        "Written by `python benchmarks/recipes.py`. Student accuracy is the mean over seeds on the whole test split, with "
        "a 95 % interval that joins seeds and test samples; so is the gain, in points, over the same student trained for "
        "the same number of optimiser steps without a teacher (hard-label, label-smoothing) or with only its argmax "
        "(hard-pseudo-label). One fixed teacher and one fixed split each.", "",
        "| recipe | labels / rows | teacher | student | parameters | control | gain over it, points | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for k in kept:
        student, teacher = k["arms"][0]["accuracy"], k["teacher"]["accuracy"]["value"]
        rows = k["data"]["rows"]["train"] + k["data"]["rows"]["validation"]
        for i, gain in enumerate(k["gains"]):
            control = next(a for a in k["arms"] if a["name"] == gain["control"])["accuracy"]["value"]
            head = (
                f"{k['recipe']} | {k['data']['labelled']:,} / {rows:,} | {teacher:.1%} | {student['value']:.1%} "
                f"[{student['low']:.1%}, {student['high']:.1%}] | {k['student']['params']:,}"
                if i == 0
                else " | | | | "
            )
            lines.append(
                f"| {head} | {gain['control']} {control:.1%} | {gain['points']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]"
                f" | {gain['verdict']} |"
            )
    lines += ["", "## How each was run", ""]
    for k in kept:
        packages = ", ".join(f"{p} {v}" for p, v in k["machine"]["packages"].items())
        hidden = (
            " The teacher was trained on labels that are hidden from the student."
            if k["saw_hidden_labels"]
            else " The teacher comes from elsewhere and may know labels that are hidden from the student."
            if k["saw_hidden_labels"] is None
            else ""
        )
        lines.append(
            f"- **{k['recipe']}**: `{k['command']}`, seeds {k['seeds']}, commit {k['commit']}, {k['date']}; {k['seconds']:.0f} s "
            f"of stages on {k['machine']['cores']} cores of {k['machine']['cpu']}; {packages}. ONNX file {k['onnx']['bytes']:,} "
            f"bytes, median latency {k['onnx']['latency_ms']['median'] * 1e3:.1f} µs at batch 1 on one thread (measured), "
            f"{k['onnx']['latency_ratio']['value']:.3f} of the teacher's.{hidden}"
        )
    return "\n".join([*lines, ""])


def readme(kept: list[dict[str, Any]]) -> None:
    """Replace the README's table of results."""
    lines = [
        "| recipe | labels / rows | teacher | student (parameters) | same student, hard labels | distilled | gain, points | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for k in kept:
        student, gain = k["arms"][0]["accuracy"]["value"], k["gains"][0]
        control = next(a for a in k["arms"] if a["name"] == gain["control"])["accuracy"]["value"]
        rows = k["data"]["rows"]["train"] + k["data"]["rows"]["validation"]
        lines.append(
            f"| [{k['recipe']}](recipes/{k['recipe']}.yaml) | {k['data']['labelled']:,} / {rows:,} | {k['teacher']['accuracy']['value']:.1%} "
            f"({k['teacher']['params']:,}) | {k['student']['params']:,} | {control:.1%} | {student:.1%} | {gain['points']:+.1f} "
            f"[{gain['low']:+.1f}, {gain['high']:+.1f}] | {gain['verdict']} |"
        )
    file = ROOT / "README.md"
    before, _, rest = file.read_text().partition("<!-- results:start -->\n")
    _, _, after = rest.partition("<!-- results:end -->")
    file.write_text("\n".join([before + "<!-- results:start -->", *lines, "<!-- results:end -->"]) + after)


def main(names: list[str]) -> None:
    """Run, keep, write."""
    file = RESULTS / "recipes.json"
    kept = {k["recipe"]: k for k in json.loads(file.read_text())} if file.exists() else {}
    for name in names:
        out = ROOT / "runs" / name
        command = [sys.executable, "-m", "potstill", "run", f"recipes/{name}.yaml", "--out", str(out)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, check=False)
        if done.returncode:
            print(f"{name}: not run (exit code {done.returncode}); its figures stay as they were")
            continue
        kept[name] = figures(name, json.loads((out / "results.json").read_text()))
        RESULTS.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([kept[n] for n in RECIPES if n in kept], indent=1) + "\n")
        (RESULTS / "recipes.md").write_text(table([kept[n] for n in RECIPES if n in kept]))
        readme([kept[n] for n in RECIPES if n in kept])
    print((RESULTS / "recipes.md").read_text())


if __name__ == "__main__":
    main(sys.argv[1:] or list(RECIPES))
