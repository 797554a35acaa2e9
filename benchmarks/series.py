"""Run the recipes of series and write docs/results/series.md (and .json).

Usage: POTSTILL_DATA=... python benchmarks/series.py [run NAME ... | figures NAME ... | forest]   # default: all of it

run trains; figures reads runs/NAME again, which must be finished; forest trains random forests on the same splits. Names: ecg,
wharf, etth1.
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
NAMES = ("ecg", "wharf", "etth1")
TREES = 100
FORECASTS = (
    # what, seen steps, MSE, MAE, where; all for 96 steps of all seven variables of ETTh1 on the 12/4/4 months
    ("PatchTST/64", 512, 0.370, 0.400, "Nie et al. 2023, arXiv:2211.14730"),
    ("PatchTST/42", 336, 0.375, 0.399, "the same"),
    ("NLinear", 336, 0.374, 0.394, "Zeng et al. 2023, arXiv:2205.13504"),
    ("DLinear", 336, 0.375, 0.399, "the same"),
    ("FEDformer", 96, 0.376, 0.419, "the same, after Zhou et al. 2022, arXiv:2201.12740"),
)


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def figures(name: str) -> dict[str, Any]:
    """Return what is kept of a finished run."""
    run = ROOT / "runs" / name
    results = json.loads((run / "results.json").read_text())
    artifact = results["artifacts"][0]
    beside = ("macro_f1", "balanced_accuracy", "mse", "mae", "per_class", "per_variable")
    kept: dict[str, Any] = {
        "recipe": name,
        "command": f"potstill run recipes/{name}.yaml --threads 1",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": git("rev-parse", "--short", "HEAD"),
        "machine": {k: results["environment"][k] for k in ("cpu", "cores", "packages")},
        "classes": results["classes"],
        "rows": results["data"]["rows"],
        "models": results["models"],
        "teacher": {k: results["teacher"][k] for k in ("accuracy", *beside) if k in results["teacher"]},
        "arms": [
            {k: a[k] for k in ("name", "accuracy", "per_seed", "steps", "seconds", *beside) if k in a}
            for a in results["arms"]
        ],
        "gains": results["gains"],
        "onnx": {k: artifact[k] for k in ("bytes", "accuracy", "accuracy_drop", "latency_ms", "latency_ratio")},
        "members": members(run, results),
    }
    return kept


def members(run: Path, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each member of the ensemble gives alone on the test split, where the cache still has it."""
    import torch

    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model
    from potstill.pipeline.cache import ArtifactCache, default_root
    from potstill.tasks import Truth
    from potstill.tasks import registry as tasks
    from potstill.train.loop import predict

    torch.set_num_threads(1)
    keys, cache = json.loads((run / "run.json").read_text())["keys"], ArtifactCache(default_root())
    dataset = Dataset.open(cache.path(keys["prepare"]))
    truth, task = Truth.of(dataset, "test"), tasks[results["task"]]()
    out = []
    for folder in sorted(cache.path(keys["teach"]).glob("member-*")):
        model = load_model(folder)
        found = task.metrics(predict(model.module, model.preprocess, dataset.splits["test"]), truth)
        params = sum(p.numel() for p in model.module.parameters())
        out.append(
            {
                "model": model.spec.kind,
                "params": params,
                **{k: found[k] for k in ("accuracy", "mse", "mae") if k in found},
            }
        )
    return out


def forest(name: str, seeds: int = 3) -> dict[str, Any]:
    """Return what random forests give on the same splits, of values as they are stored."""
    from sklearn.ensemble import RandomForestClassifier

    from potstill.data.dataset import Dataset
    from potstill.pipeline.cache import ArtifactCache, default_root
    from potstill.tasks import Truth
    from potstill.tasks.timeseries_classification import TimeseriesClassificationSpec

    run = ROOT / "runs" / name
    dataset = Dataset.open(
        ArtifactCache(default_root()).path(json.loads((run / "run.json").read_text())["keys"]["prepare"])
    )
    train, test = dataset.splits["train"], dataset.splits["test"]

    def flat(samples: Any) -> Any:
        found = np.asarray(samples)
        moving = np.flatnonzero(found.std(axis=1).max(axis=0) > 0)
        still = np.setdiff1d(np.arange(found.shape[2]), moving)
        return np.concatenate([found[:, :, moving].reshape(len(found), -1), found[:, 0, still]], axis=1)

    scores = []
    for seed in range(seeds):
        model = RandomForestClassifier(TREES, random_state=seed, n_jobs=1)
        model.fit(flat(train.samples), train.labels, sample_weight=train.weights)
        shares = np.full((len(test.samples), len(dataset.classes)), 0.0)
        shares[:, model.classes_] = model.predict_proba(flat(test.samples))
        scores.append(TimeseriesClassificationSpec().metrics(np.log(shares + 1e-9), Truth.of(dataset, "test")))
    recalls = [[c["recall"] for c in s["per_class"]] for s in scores]
    return {
        "trees": TREES, "seeds": seeds, "accuracy": [s["accuracy"] for s in scores],
        "per_class": [{"name": n, "recall": float(r)} for n, r in zip(dataset.classes, np.mean(recalls, axis=0), strict=True)],
    }  # fmt: skip


def _score(figure: dict[str, Any]) -> str:
    if figure.get("unit") == "error":
        return f"{1 - figure['value']:.4f} [{1 - figure['high']:.3f}, {1 - figure['low']:.3f}]"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


def _recalls(per_class: list[dict[str, Any]]) -> str:
    return ", ".join(f"{c['name']} {c['recall']:.2f}" for c in per_class)


def _classified(kept: dict[str, Any]) -> list[str]:
    lines = [
        "| model | parameters | test accuracy | macro F1 | recall by class (sensitivity) |",
        "|---|---|---|---|---|",
    ]
    if "forest" in kept:
        found = kept["forest"]
        lines.append(f"| random forest, {found['trees']} trees, {found['seeds']} seeds | | {np.mean(found['accuracy']):.1%} | | "
                     f"{_recalls(found['per_class'])} |")  # fmt: skip
    teacher = kept["teacher"]
    size = sum(m["params"] for m in kept["members"])
    lines.append(f"| teacher, {kept['models']['teacher']['name']} | {size:,} | {_score(teacher['accuracy'])} | {teacher['macro_f1']:.3f} | "
                 f"{_recalls(teacher['per_class'])} |")  # fmt: skip
    for arm in kept["arms"]:
        name = "student, distilled" if arm["name"] == "student" else f"the same, {arm['name']}"
        lines.append(f"| {name} | {kept['models']['student']['params']:,} | {_score(arm['accuracy'])} | {arm['macro_f1']:.3f} | "
                     f"{_recalls(arm['per_class'])} |")  # fmt: skip
    return lines


def _forecast(kept: dict[str, Any]) -> list[str]:
    lines = ["| model | steps seen | parameters | MSE | MAE | from |", "|---|---|---|---|---|---|"]
    lines += [f"| {n} | {seen} | | {mse:.3f} | {mae:.3f} | {where} |" for n, seen, mse, mae, where in FORECASTS]
    for m in kept["members"]:
        lines.append(
            f"| {m['model']}, alone | 336 | {m['params']:,} | {m['mse']:.4f} | {m['mae']:.4f} | here, one seed |"
        )
    size = sum(m["params"] for m in kept["members"])
    teacher = kept["teacher"]
    lines.append(
        f"| teacher, {kept['models']['teacher']['name']} | 336 | {size:,} | {_score(teacher['accuracy'])} | {teacher['mae']:.4f} | here |"
    )
    for arm in kept["arms"]:
        name = "student, distilled" if arm["name"] == "student" else "the same, on true values alone"
        lines.append(f"| {name} | 336 | {kept['models']['student']['params']:,} | {_score(arm['accuracy'])} | {arm['mae']:.4f} | here, "
                     f"{len(arm['per_seed'])} seeds |")  # fmt: skip
    return lines


def table(kept: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    lines = [
        "# Series: beats, activities, forecasts", "",
        "Written by `python benchmarks/series.py`. Figures are of the whole test split, means over seeds, with 95 % intervals that join "
        "seeds and groups of test rows: patients, people, or blocks of windows that overlap. So few groups make wide intervals, and that "
        "is what is known. Recall by class is that of the first seed. A gain is in points: of accuracy, or of 0.01 of MSE. One fixed teacher and one "
        "fixed split each.", "",
    ]  # fmt: skip
    for name in (n for n in NAMES if n in kept):
        k = kept[name]
        lines += [f"## {name}", "", *(_forecast(k) if name == "etth1" else _classified(k)), ""]
        for gain in k["gains"]:
            lines.append(f"Gain over {gain['control']}: {gain['points']:+.2f} points [{gain['low']:+.2f}, {gain['high']:+.2f}], "
                         f"**{gain['verdict']}** ({gain['detail']}; by seed {', '.join(f'{p:+.2f}' for p in gain['per_seed'])}).")  # fmt: skip
        packages = ", ".join(f"{p} {v}" for p, v in k["machine"]["packages"].items())
        lines += ["", f"`{k['command']}`, commit {k['commit']}, {k['date']}, {k['machine']['cores']} cores of {k['machine']['cpu']}; "
                  f"{packages}. Rows: {k['rows']['train']:,} to train on, {k['rows']['validation']:,} to watch, {k['rows']['test']:,} to test "
                  f"on. ONNX file {k['onnx']['bytes']:,} bytes, median {k['onnx']['latency_ms']['median'] * 1e3:.1f} µs a window on one thread "
                  "(measured on a busy machine).", ""]  # fmt: skip
        lines += [*NOTES[name], ""]
    return "\n".join(lines)


NOTES: dict[str, list[str]] = json.loads((Path(__file__).parent / "series_notes.json").read_text())
"""What a person has to say of each, kept beside the figures."""


def main(args: list[str]) -> None:
    """Run, keep, write."""
    file = RESULTS / "series.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    todo, names = (args[0], args[1:]) if args else ("all", [])
    for name in names or NAMES:
        if todo in ("run", "all"):
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
            if subprocess.run(command, cwd=ROOT, env=os.environ, check=False).returncode:
                print(f"{name}: not run; its figures stay as they were")
                continue
        if todo in ("run", "all", "figures"):
            before = kept.get(name, {})
            kept[name] = figures(name) | {k: before[k] for k in ("forest",) if k in before}
        if todo in ("all", "forest") and name != "etth1":
            kept[name]["forest"] = forest(name)
    file.write_text(json.dumps({n: kept[n] for n in NAMES if n in kept}, indent=1) + "\n")
    (RESULTS / "series.md").write_text(table(kept))
    print(table(kept))


if __name__ == "__main__":
    main(sys.argv[1:])
