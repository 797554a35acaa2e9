"""Hold out each speaker of the spoken digits in turn: recipes/spoken-digits.yaml with another teacher or split, one run a speaker.

Usage: python benchmarks/speakers.py [--teacher speech-embedding] [--seeds 3] [--epochs 40] [SPEAKER ...]

Needs POTSTILL_DATA. A run that is kept is not done again; docs/results/speakers.md is written from what is kept after each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from potstill.verify.gain import accuracy_interval, gain

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CNN = {
    "kind": "train",
    "model": {"kind": "ds-cnn", "width": 64, "depth": 6, "stem_stride": 2, "downsample": 2, "input": {"kind": "audio", "mels": 40}},
    "training": {"epochs": 25, "batch_size": 32, "learning_rate": 0.005, "weight_decay": 0.01},
}  # fmt: skip


def recipe_of(speaker: str, teacher: str, seeds: int, epochs: int) -> dict[str, Any]:
    """Return the shipped recipe with one speaker as the test, and the next one for validation."""
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "spoken-digits.yaml").read_text())
    data = recipe["data"]
    for share in ("test", "validation"):
        data.pop(share)
    data["test_groups"] = [speaker]
    data["validation_groups"] = [SPEAKERS[(SPEAKERS.index(speaker) + 1) % len(SPEAKERS)]]
    recipe |= {"name": f"spoken-digits-{teacher}-{speaker}", "seeds": seeds}
    recipe["steps"][0]["training"]["epochs"] = epochs
    if teacher == "cnn":
        recipe["teacher"] = CNN
    return recipe


def run(speaker: str, teacher: str, seeds: int, epochs: int) -> dict[str, Any] | None:
    """Run one and return what is kept of it; None where it failed."""
    out = ROOT / "runs" / f"speakers-{teacher}-{speaker}"
    out.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe_of(speaker, teacher, seeds, epochs), sort_keys=False))
    command = [sys.executable, "-m", "potstill", "run", str(path), "--out", str(out), "--threads", "1"]
    if subprocess.run(command, cwd=ROOT, env=os.environ, check=False).returncode:
        return None
    found = json.loads((out / "results.json").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "speaker": speaker, "teacher": teacher, "epochs": epochs, "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "teacher_accuracy": found["teacher"]["accuracy"]["value"], "params": found["models"]["student"]["params"],
        "macs": found["models"]["student"]["macs"], "bytes": found["artifacts"][0]["bytes"],
        "rows": found["data"]["rows"], "arms": {arm["name"]: arm["per_seed"] for arm in found["arms"]},
        "cpu": found["environment"]["cpu"], "seconds": round(sum(s["seconds"] for s in found["stages"])),
    }  # fmt: skip


def table(kept: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [
        "# Spoken digits, each speaker held out in turn", "",
        "Written by `python benchmarks/speakers.py`. Each row is a run whose test is all 500 recordings of one speaker whom neither "
        "teacher nor student has heard; the next speaker is for validation, four are learnt from. Accuracy of student and control "
        "(the same student, as many steps, hard labels only) is the mean over seeds. An interval needs every speaker: speakers differ "
        "more than recordings do.", "",
    ]  # fmt: skip
    for teacher in dict.fromkeys(k["teacher"] for k in kept):
        mine = [k for k in kept if k["teacher"] == teacher]
        lines += [
            f"## Teacher: {teacher}",
            "",
            "| unseen speaker | teacher | student | control | seeds |",
            "|---|---|---|---|---|",
        ]
        for k in mine:
            student, control = (float(np.mean(k["arms"][arm])) for arm in ("student", "hard-label"))
            lines.append(
                f"| {k['speaker']} | {k['teacher_accuracy']:.1%} | {student:.1%} | {control:.1%} | {len(k['arms']['student'])} |"
            )
        lines += ["", _together(mine), ""]
        first = mine[0]
        lines += [
            f"Student: {first['params']:,} parameters (as many bytes of weights in int8), {first['macs']:,} MACs a recording; the ONNX "
            f"file, {first['bytes']:,} bytes, holds them in float32 beside the log-mel front end. {first['epochs']} epochs; commit "
            f"{first['commit']}, {first['date']}, {first['cpu']}; {sum(k['seconds'] for k in mine):,} s of stages. Command: `python "
            f"benchmarks/speakers.py --teacher {teacher} --seeds {len(first['arms']['student'])} --epochs {first['epochs']}`.", "",
        ]  # fmt: skip
    return "\n".join(lines)


def _together(mine: list[dict[str, Any]]) -> str:
    """Return the mean over speakers, with intervals over speakers and seeds where there are several of both."""
    arms = {arm: np.array([k["arms"][arm] for k in mine]).T for arm in ("student", "hard-label")}  # [seeds, speakers]
    teacher = float(np.mean([k["teacher_accuracy"] for k in mine]))
    said = f"Mean over {len(mine)} of {len(SPEAKERS)} speakers: teacher {teacher:.1%}"
    if len(mine) < 2:
        return said + f", student {arms['student'].mean():.1%}, control {arms['hard-label'].mean():.1%}."
    for name, values in (("student", arms["student"]), ("control", arms["hard-label"])):
        mean, low, high = accuracy_interval(values)
        said += f", {name} {mean:.1%} [{low:.1%}, {high:.1%}]"
    found = gain(arms["student"], arms["hard-label"], "speakers")
    short = 100 * (teacher - float(arms["student"].mean()))
    return (
        f"{said}. Gain over the control {found.points:+.1f} points [{found.low:+.1f}, {found.high:+.1f}]: {found.verdict} "
        f"({found.detail}). Short of the teacher by {short:.1f} points (target: at most 2 of the better teacher)."
    )


def main() -> None:
    """Run, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speakers", nargs="*", default=SPEAKERS)
    parser.add_argument("--teacher", choices=("speech-embedding", "cnn"), default="speech-embedding")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    file = RESULTS / "speakers.json"
    kept = json.loads(file.read_text()) if file.exists() else []
    for speaker in given.speakers:
        same = [k for k in kept if (k["speaker"], k["teacher"], k["epochs"]) == (speaker, given.teacher, given.epochs)]
        if any(len(k["arms"]["student"]) >= given.seeds for k in same):
            continue
        found = run(speaker, given.teacher, given.seeds, given.epochs)
        if found is not None:
            kept = [k for k in kept if (k["speaker"], k["teacher"]) != (speaker, given.teacher)] + [found]
            kept.sort(key=lambda k: (k["teacher"] == "cnn", SPEAKERS.index(k["speaker"])))
            file.write_text(json.dumps(kept, indent=1) + "\n")
            (RESULTS / "speakers.md").write_text(table(kept))
    print(table(kept))


if __name__ == "__main__":
    main()
