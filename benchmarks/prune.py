"""Does a teacher help a pruned model to recover? ResNet-20 and ResNet-56 on a copy of CIFAR-10, with published weights.

Usage: POTSTILL_DATA=... python benchmarks/prune.py work [--hours H] [--only MODEL] | time [--only MODEL] | page | smoke

Published weights are tuned to this copy of the data for a few epochs: that is the teacher. It is cut to 40 % of its parameters or fewer and
trained on for the same number of epochs: on what it gave before the cut and on the labels (joint), on the labels alone (plain), and, cut
by torch-pruning's own pruner instead, on the labels alone. To be shown: at least 60 % of the parameters and half of the MACs gone
within a point of the teacher. Accuracies are of this copy of the data: compare them with one another only.

`work` writes a line of the ledger docs/results/prune.jsonl for each finished training; killed anywhere and started again, it
goes on. `time` runs teacher and joint student of the first seed as ONNX files by turns, which needs the cache that `work` filled.
`page` writes docs/results/prune.md and .json from the ledger. Run it in a clone of its own: changed sources are other trainings.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
LEDGER = RESULTS / "prune.jsonl"
SEEDS = (0, 1, 2)
ARMS = ("joint", "plain", "torch-pruning")
INPUT = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Plan:
    """How a model is tuned, cut and trained on."""

    depth: int
    rows: int | None
    """Training rows, None for all."""
    tuned: int
    """Epochs of the teacher."""
    epochs: int
    """Epochs after the cut."""
    views: int
    params: float
    """Share of the teacher's parameters that is left."""
    round_to: int
    """Widths are a multiple of it."""
    precision: str
    tuned_rate: float = 0.003
    rate: float = 0.003
    scope: str = "global"
    """Channels of all layers ranked together, or of each layer by itself."""
    arms: tuple[str, ...] = ARMS


MODELS = {
    "resnet20": Plan(20, None, 4, 10, 4, 0.4, 2, "bfloat16", 0.001, arms=("joint", "plain")),
    "resnet56": Plan(56, None, 3, 5, 2, 0.4, 2, "bfloat16", 0.001, arms=("joint", "plain")),
    "resnet20-short": Plan(20, 10_000, 6, 14, 2, 0.38, 4, "float32"),
}


def recipe_of(model: str, arm: str, seed: int, smoke: bool = False, teacher: Path | None = None) -> Any:
    """Return the recipe of one training: the same data, teacher and epochs in every arm.

    Args:
        model: of MODELS.
        arm: of ARMS.
        seed: the last of those that the recipe trains.
        smoke: few rows, one epoch.
        teacher: its weights, for the arm that torch-pruning cuts.
    """
    from potstill.recipe.load import from_text

    plan, data = MODELS[model], Path(os.environ["POTSTILL_DATA"])
    weights = str(data / "models" / "cifar10_resnet" / f"resnet{plan.depth}.safetensors")
    training = {"epochs": plan.epochs, "batch_size": 128, "learning_rate": plan.rate, "precision": plan.precision}
    whole = {"kind": "resnet", "depth": plan.depth, "shortcut": "pad", "input": INPUT}
    cut = {"factory": "_prune_peer:cut_alone", "arguments": {"depth": plan.depth, "weights": str(teacher), "params": plan.params, "round_to": plan.round_to}}  # fmt: skip
    prune = {
        "kind": "prune",
        "budget": {"params": plan.params},
        "importance": "taylor",
        "round_to": plan.round_to,
        "scope": plan.scope,
    }
    soft = [{"kind": "soft-label", "temperature": 4.0, "weight": 0.9}, {"kind": "hard-label", "weight": 0.1}]
    distill = {"kind": "distill", "objectives": soft, "training": training}
    alone = {**distill, "objectives": [{"kind": "hard-label"}]}
    raw: dict[str, Any] = {
        "name": f"prune-resnet{plan.depth}", "seed": 0, "seeds": seed + 1, "export": [],
        "data": {
            "kind": "parquet", "train": str(data / "cifar10" / "train.parquet"), "test_file": str(data / "cifar10" / "test.parquet"),
            "classes": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"], "overlap": "drop", "limit": plan.rows,
        },
        "augment": [{"kind": "shift", "pixels": 4}, {"kind": "flip"}],
        "teacher": {"kind": "train", "model": {**whole, "weights": weights}, "training": {**training, "epochs": plan.tuned, "learning_rate": plan.tuned_rate}},
        "labels": {"views": plan.views, "codec": {"kind": "float16"}},
        "student": {"kind": "torch", "input": INPUT, **cut} if arm == "torch-pruning" else whole,
        "steps": [alone] if arm == "torch-pruning" else [{"kind": "inherit"}, prune, distill],
        "controls": ["hard-label"] if arm == "plain" else [],
    }  # fmt: skip
    if smoke:
        raw["data"]["limit"], raw["labels"]["views"] = 640, 1
        for part in (raw["teacher"], *raw["steps"]):
            part.get("training", {})["epochs"] = 1
    return from_text(yaml.safe_dump(raw), f"{model}-{arm}.yaml", ROOT / "benchmarks")


class Bench:
    """Trains one model, arm and seed at a time."""

    def __init__(self, ledger: Path, smoke: bool = False) -> None:
        from potstill.pipeline.cache import ArtifactCache, default_root
        from potstill.stages import RunOptions

        self.ledger, self.smoke = ledger, smoke
        self.cache = ArtifactCache(default_root())
        self.options = RunOptions(self.cache.root, threads=1)

    def run(self, model: str, arm: str, seed: int) -> dict[str, Any]:
        """Return the ledger's line of one training, or of the teacher."""
        from potstill.core.progress import Progress
        from potstill.pipeline.execute import Executor
        from potstill.pipeline.graph import build

        def built(arm: str, teacher: Path | None = None) -> Any:
            return build(recipe_of(model, arm, seed, self.smoke, teacher), self.cache.digests, self.cache)

        graph = built("joint" if arm in ("teacher", "torch-pruning") else arm)
        if arm == "torch-pruning":
            executor = Executor(graph, self.cache, self.options, Progress("plain"))
            for name in needed(graph, "teach"):
                executor.run(graph.nodes[name])
            graph = built(arm, self.cache.path(graph.nodes["teach"].key) / "student.safetensors")
        who = "hard-label" if arm == "plain" else "student"
        wanted = "evaluate/teacher" if arm == "teacher" else f"evaluate/{who}/seed{seed}"
        executor, names = Executor(graph, self.cache, self.options, Progress("plain")), needed(graph, wanted)
        for name in names:
            executor.run(graph.nodes[name])
        manifests = {n: json.loads((self.cache.path(graph.nodes[n].key) / "artifact.json").read_text()) for n in names}
        last = "teach" if arm == "teacher" else next(n for n in reversed(names) if n.startswith("steps/"))
        pruned = next((m["facts"]["plan"] for n, m in manifests.items() if n.endswith("-prune")), None)
        return {
            "model": model, "arm": arm, "seed": seed, "key": graph.nodes[last].key, **manifests[last]["facts"]["profile"],
            "pruned": None if pruned is None else {k: pruned[k] for k in ("ratio", "first", "after", "whole")},
            "seconds": {n: m["seconds"] for n, m in manifests.items()}, "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "commit": git("rev-parse", "--short", "HEAD"), **self._judged(graph, wanted),
        }  # fmt: skip

    def time(self, model: str) -> dict[str, Any]:
        """Return the ledger's line of file sizes and latencies, teacher and joint student of seed 0 in ONNX Runtime by turns."""
        import torch
        from torch import nn

        from potstill.core.fingerprint import environment
        from potstill.exporters.onnx import OnnxSpec
        from potstill.models.tools.saved import load_model
        from potstill.verify.latency import calling, interleaved

        keys = {x["arm"]: x["key"] for x in read(self.ledger) if x["model"] == model and x["seed"] == 0}
        example = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
        calls, size = {}, {}
        with tempfile.TemporaryDirectory() as work:
            for arm in ("teacher", "joint"):
                loaded = load_model(self.cache.path(keys[arm]))
                folder = Path(work) / arm
                folder.mkdir()
                artifact = OnnxSpec().export(
                    nn.Sequential(loaded.preprocess.inside, loaded.module).eval(), example, folder, None
                )
                size[arm], calls[arm] = artifact.path.stat().st_size, calling(artifact, example[:1])
            found = interleaved(calls, blocks=60, lock=self.cache.root / "latency.lock")
        return {"model": model, "arm": "files", "seed": 0, "bytes": size, "latency": found, "cpu": environment()["cpu"],
                "date": datetime.now(UTC).isoformat(timespec="minutes"), "commit": git("rev-parse", "--short", "HEAD")}  # fmt: skip

    def _judged(self, graph: Any, wanted: str) -> dict[str, Any]:
        from potstill.core.tensorfile import open_arrays
        from potstill.data.dataset import Dataset
        from potstill.tasks import Truth

        truth = Truth.of(Dataset.open(self.cache.path(graph.nodes["prepare"].key)), "test")
        outputs = np.asarray(open_arrays(self.cache.path(graph.nodes[wanted].key) / "outputs.safetensors")["outputs"])
        correct = graph.recipe.task.correct(outputs, truth) > 0
        return {
            "accuracy": float(correct.mean()),
            "rows": len(correct),
            "correct": base64.b64encode(np.packbits(correct)).decode(),
        }


def needed(graph: Any, wanted: str) -> list[str]:
    """Return a node and all that it builds on, in order."""
    found: set[str] = set()
    todo = [wanted]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph.nodes[name].inputs.values()
    return [name for name in graph.nodes if name in found]


def read(ledger: Path) -> list[dict[str, Any]]:
    """Return the whole lines of the ledger; the last may be torn."""
    out = []
    for line in ledger.read_text().splitlines() if ledger.exists() else []:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def work(bench: Bench, hours: float, models: list[str], seeds: tuple[int, ...]) -> None:
    """Train what the ledger lacks, model by model and seed by seed, until the time is over."""
    until = time.monotonic() + 3600 * hours
    for model in models:
        for arm, seed in [("teacher", 0), *((arm, seed) for seed in seeds for arm in MODELS[model].arms)]:
            if (model, arm, seed) in {(x["model"], x["arm"], x["seed"]) for x in read(bench.ledger)}:
                continue
            if time.monotonic() > until:
                print(f"time is over before {model} {arm} {seed}: run it again", flush=True)
                return
            line = bench.run(model, arm, seed)
            with bench.ledger.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            print(f"{model} {arm} seed {seed}: {line['accuracy']:.4f} with {line['params']:,} parameters", flush=True)


def timed(bench: Bench, models: list[str]) -> None:
    """Time the models that are trained and were not timed."""
    for model in models:
        arms = {x["arm"] for x in read(bench.ledger) if x["model"] == model}
        if {"teacher", "joint"} <= arms and "files" not in arms:
            with bench.ledger.open("a") as file:
                file.write(json.dumps(bench.time(model)) + "\n")


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def compared(lines: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    """Return size and accuracy of each arm of a model, and the joint arm's gain over each of the others, in points."""
    from potstill.verify.gain import gain

    found, arms = {(x["arm"], x["seed"]): x for x in lines if x["model"] == model}, MODELS[model].arms
    seeds = sorted({s for a, s in found if a in arms and all((arm, s) in found for arm in arms)})
    if ("teacher", 0) not in found or not seeds:
        return []
    teacher = found["teacher", 0]

    def correct(arm: str) -> Any:
        return np.array([np.unpackbits(np.frombuffer(base64.b64decode(found[arm, s]["correct"]), np.uint8))[: teacher["rows"]]
                         for s in seeds], dtype=np.float64)  # fmt: skip

    out = [
        {
            "arm": "teacher",
            "seeds": [0],
            "accuracy": teacher["accuracy"],
            "params": 1.0,
            "macs": 1.0,
            "behind": 0.0,
            "gain": None,
        }
    ]
    for arm in arms:
        runs = [found[arm, s] for s in seeds]
        mean = float(np.mean([r["accuracy"] for r in runs]))
        size = {k: float(np.mean([r[k] for r in runs])) / teacher[k] for k in ("params", "macs")}
        over = None if arm == "joint" else gain(correct("joint"), correct(arm)).as_dict()
        out.append(
            {
                "arm": arm,
                "seeds": seeds,
                "accuracy": mean,
                **size,
                "behind": 100 * (teacher["accuracy"] - mean),
                "gain": over,
            }
        )
    return out


def page(ledger: Path, out: Path) -> None:
    """Write the page and its figures."""
    from potstill.core.fingerprint import environment

    lines, machine = read(ledger), environment()
    tables = {model: rows for model in MODELS if (rows := compared(lines, model))}
    text = ["# Pruning with and without a teacher", "", (__doc__ or "").split("\n\n")[2].replace("\n", " "), "",
            f"Command: `python benchmarks/prune.py work`, then `page`. {machine['cpu']}, {machine['cores']} cores.", ""]  # fmt: skip
    for model, rows in tables.items():
        plan, commits = (
            MODELS[model],
            ", ".join(sorted({x["commit"] for x in lines if x["model"] == model and x["arm"] != "files"})),
        )
        text += [f"## {model}", "", f"{'All' if plan.rows is None else f'{plan.rows:,}'} of 50,000 rows, a tenth of them for validation; the teacher tuned for {plan.tuned} epochs (rate {plan.tuned_rate}), "
                 f"{plan.epochs} after the cut ({plan.rate}, AdamW, cosine), forward passes in {plan.precision}; {plan.views} views in the store; commits {commits}.", "", "| arm | seeds | accuracy | behind the teacher, points | parameters | MACs | joint's gain over it, 95 % | verdict |",
                 "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in rows:
            g = r["gain"]
            over = "" if g is None else f"{g['points']:+.2f} [{g['low']:+.2f}, {g['high']:+.2f}]"
            text.append(f"| {r['arm']} | {len(r['seeds'])} | {100 * r['accuracy']:.2f} | {r['behind']:.2f} | {r['params'] - 1:+.1%} | "
                        f"{r['macs'] - 1:+.1%} | {over} | {'' if g is None else g['verdict']} |")  # fmt: skip
        joint = next(r for r in rows if r["arm"] == "joint")
        small = joint["params"] <= 0.4 and joint["macs"] <= 0.5
        missed = f"missed by {joint['behind'] - 1:.1f} points" if small else "missed: too little is gone"
        text += [
            "",
            f"Goal {'met' if small and joint['behind'] <= 1 else missed}.",
            "",
            *said_of_files([x for x in lines if x["model"] == model and x["arm"] == "files"]),
        ]
    (out / "prune.md").write_text("\n".join(text) + "\n")
    bare = [{k: v for k, v in line.items() if k != "correct"} for line in lines]
    (out / "prune.json").write_text(
        json.dumps({"machine": machine, "lines": bare, "compared": tables}, indent=1) + "\n"
    )
    print("\n".join(text))


def said_of_files(lines: list[dict[str, Any]]) -> list[str]:
    """Return the page's line on file sizes and latencies."""
    if not lines:
        return []
    line, ratio = lines[-1], lines[-1]["latency"]["joint"]["ratio"]
    ms = {arm: line["latency"][arm]["interval"]["value"] for arm in ("teacher", "joint")}
    return [f"Files of seed 0 in ONNX Runtime, float32, one sample, one thread, measured by turns: {line['bytes']['joint'] / 1e3:,.0f} kB for the teacher's "
            f"{line['bytes']['teacher'] / 1e3:,.0f}, {ms['joint']:.3f} ms for its {ms['teacher']:.3f}: {ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] "
            f"of its time; {line['cpu']}, commit {line['commit']}.", ""]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["work", "time", "page", "smoke"])
    parser.add_argument("--hours", type=float, default=math.inf)
    parser.add_argument("--only", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    given = parser.parse_args()
    if given.what == "page":
        page(given.ledger, RESULTS)
    elif given.what == "work":
        work(Bench(given.ledger), given.hours, given.only, SEEDS)
    elif given.what == "time":
        timed(Bench(given.ledger), given.only)
    else:
        bench = Bench(given.ledger, smoke=True)
        work(bench, given.hours, ["resnet20-short"], (0,))
        timed(bench, ["resnet20-short"])
        page(given.ledger, given.ledger.parent)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
