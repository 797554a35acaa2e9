"""What do 8 and 4 bits cost, after training and with training as they round, and against ONNX Runtime's own quantiser?

Usage:
    python benchmarks/quantize.py run [--only RECIPE ...] [--seeds 3] [--ledger FILE]
    python benchmarks/quantize.py table [--ledger FILE]      # writes docs/results/quantize.md and .json
    python benchmarks/quantize.py smoke                      # digits made small, one seed, into a temporary ledger

Arms, all of the same float student: `float`; `ptq8` and `qat8`, int8_static_per_channel; `ptq4` and `qat4`, int4_conv; `ort8`, ONNX
Runtime's quantize_static of the float file on the same calibration rows, min-max, per channel. Each is judged in ONNX Runtime on the
whole test split. A finished arm is one line of the ledger, never done again; trained students are kept in POTSTILL_CACHE.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "docs" / "results" / "quantize.jsonl"
RECIPES = (
    "digits",
    "clinc150",
    "snips-slots",
    "ecg",
    "spoken-digits",
    "spoken-digits-cnn",
    "wharf",
    "etth1",
    "fashion-mnist",
    "cifar10",
)
ROWS = 512
"""Training rows that ranges are found on, in every arm."""
SCHEMES = {
    "ptq8": "int8_static_per_channel",
    "qat8": "int8_static_per_channel",
    "ptq4": "int4_conv",
    "qat4": "int4_conv",
}
ARMS = ("float", "ort8", *SCHEMES)


def recipe_of(name: str, arm: str, seeds: int, small: bool) -> Any:
    """Return a shipped recipe with the arm's step at its end; a fifth of the training's epochs at a tenth of its rate where it trains."""
    from potstill.recipe.load import from_text

    raw = yaml.safe_load(os.path.expandvars((ROOT / "recipes" / f"{name}.yaml").read_text()))
    raw |= {"seeds": seeds, "controls": [], "export": []}
    if small:
        raw["data"]["limit"], raw["labels"] = 600, {"views": 1}
        raw["teacher"]["training"]["epochs"], raw["steps"][-1]["training"]["epochs"] = 8, 20
    last = raw["steps"][-1]
    if arm in SCHEMES:
        step: dict[str, Any] = {"kind": "quantize", "scheme": SCHEMES[arm], "calibration": {"rows": ROWS}}
        if arm.startswith("qat"):
            training = dict(last.get("training", {}))
            training |= {
                "epochs": max(1, training.get("epochs", 30) // 5),
                "learning_rate": training.get("learning_rate", 2e-3) / 10,
            }
            step |= {"objectives": last["objectives"], "training": training}
        raw["steps"].append(step)
    return from_text(yaml.safe_dump(raw), f"{name}.yaml", ROOT / "recipes")


def needed(graph: Any, wanted: str) -> list[str]:
    """Return a node and all that it builds on, in order."""
    found, todo = set(), [wanted]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph.nodes[name].inputs.values()
    return [name for name in graph.nodes if name in found]


def student_of(recipe: Any, seed: int) -> tuple[Path, Path, int]:
    """Return (prepared data, student, seed of its last step) of a seed, made where they are not in the cache."""
    from potstill.core.progress import Progress
    from potstill.pipeline.cache import ArtifactCache, default_root
    from potstill.pipeline.execute import Executor
    from potstill.pipeline.graph import STUDENT, build, last_step
    from potstill.stages import RunOptions

    cache = ArtifactCache(default_root())
    graph = build(recipe, cache.digests, cache)
    executor = Executor(graph, cache, RunOptions(cache.root, threads=1), Progress("quiet"))
    last = last_step(graph, STUDENT, seed)
    for name in needed(graph, last):
        executor.run(graph.nodes[name])
    return cache.path(graph.nodes["prepare"].key), cache.path(graph.nodes[last].key), graph.nodes[last].spec.seed


def measured(name: str, arm: str, seed: int, seeds: int, small: bool) -> dict[str, Any]:
    """Return the ledger's line of one arm."""
    from torch import nn

    from potstill.core import rng
    from potstill.core.progress import Progress
    from potstill.data.dataset import Dataset
    from potstill.exporters.onnx import OnnxSpec
    from potstill.models.tools.saved import load_model
    from potstill.quant.spec import read as quant_of
    from potstill.stages._parts import gather
    from potstill.tasks import Truth
    from potstill.verify.accuracy import run_split

    started = time.monotonic()
    recipe = recipe_of(name, arm, seeds, small)
    prepared, folder, drawn_by = student_of(recipe, recipe.seed + seed)
    dataset, model, spec = Dataset.open(prepared), load_model(folder), quant_of(folder)
    outside, test = model.preprocess.outside_numpy, dataset.splits["test"]
    with tempfile.TemporaryDirectory() as work:
        whole = nn.Sequential(model.preprocess.inside, model.module).eval()
        example = outside(gather(test, np.arange(4, dtype=np.int64))[0])
        artifact = OnnxSpec().export(whole, example, Path(work), spec)
        if arm == "ort8":
            train = dataset.splits["train"]
            rows = np.sort(
                rng.permutation(rng.seed_of(drawn_by, "calibration"), 0, len(train))[:ROWS]
            )  # as the step draws them
            artifact = OnnxSpec().load(ort_static(artifact.path, outside(gather(train, rows)[0])))
        outputs = run_split(artifact, len(test), lambda rows: outside(gather(test, rows)[0]), Progress("quiet"))
        size = artifact.path.stat().st_size
    return {
        "recipe": name, "arm": arm, "seed": seed, "small": small, "bytes": size, "params": sum(p.numel() for p in model.module.parameters()),
        "weight_bytes": weight_bytes(model.module, spec), "headline": float(recipe.task.correct(outputs, Truth.of(dataset, "test")).mean()),
        "called": recipe.task.called, "rows": len(test), "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).isoformat(timespec="minutes"), **machine(),
    }  # fmt: skip


def weight_bytes(module: Any, spec: Any) -> dict[str, int]:
    """Return bytes of the weights in float32 and as kept."""
    from potstill.compress.quant_float import weight_bytes as of

    return of(module, spec)


def ort_static(path: Path, inputs_NX: Any) -> Path:
    """Return the file that ONNX Runtime's own quantiser makes of a float one."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts = iter([{name: inputs_NX[i : i + 64]} for i in range(0, len(inputs_NX), 64)])

        def get_next(self) -> Any:
            return next(self.parts, None)

    ready, made = path.with_name("ready.onnx"), path.with_name("ort.onnx")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready), str(made), Rows(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
    )  # fmt: skip
    return made


def machine() -> dict[str, str]:
    """Return what a line was measured with."""
    import onnxruntime
    import torch

    from potstill.core.fingerprint import environment

    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "cpu": environment()["cpu"],
    }


def read(ledger: Path) -> list[dict[str, Any]]:
    """Return the ledger's whole lines."""
    return [json.loads(line) for line in ledger.read_text().splitlines() if line] if ledger.exists() else []


def run(ledger: Path, names: list[str], seeds: int, small: bool = False) -> None:
    """Do what the ledger does not have."""
    done = {(e["recipe"], e["arm"], e["seed"]) for e in read(ledger)}
    for name in names:
        for seed in range(seeds):
            for arm in ARMS:
                if (name, arm, seed) in done:
                    continue
                try:
                    entry = measured(name, arm, seed, seeds, small)
                except Exception as err:  # one recipe that cannot be quantised so must not stop the rest
                    print(
                        f"{name} {arm} seed {seed}: {type(err).__name__}: {str(err).splitlines()[0][:200]}",
                        file=sys.stderr,
                    )
                    continue
                ledger.parent.mkdir(parents=True, exist_ok=True)
                with ledger.open("a") as out:
                    out.write(json.dumps(entry) + "\n")
                print(
                    f"{name} {arm} seed {seed}: {entry['headline']:.4f}, {entry['bytes']:,} bytes, {entry['seconds']} s",
                    flush=True,
                )


def table(ledger: Path, out: Path) -> str:
    """Write and return the table: means over seeds, and the verdicts that the claims ask for."""
    entries = read(ledger)
    rows = ["| recipe | seeds | float | ort8 | ptq8 | qat8 | ptq4 | qat4 | weights of 8 bits | 8 bits within 0.5 points | lost to 4 bits, won back | ours − ORT's |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    facts = []
    for name in dict.fromkeys(e["recipe"] for e in entries):
        mine = [e for e in entries if e["recipe"] == name]
        seeds = sorted({e["seed"] for e in mine})
        mean = {
            arm: float(np.mean([e["headline"] for e in mine if e["arm"] == arm]))
            for arm in ARMS
            if any(e["arm"] == arm for e in mine)
        }
        whole, cells = (
            mean.get("float"),
            [f"{100 * mean[a]:.2f}" if a in mean else "–" for a in ("float", "ort8", "ptq8", "qat8", "ptq4", "qat4")],
        )
        best8 = max((mean[a] for a in ("ptq8", "qat8") if a in mean), default=None)
        within = "–" if whole is None or best8 is None else ("yes" if 100 * (whole - best8) <= 0.5 else "no")
        lost = None if whole is None or "ptq4" not in mean else 100 * (whole - mean["ptq4"])
        back = "–" if lost is None or "qat4" not in mean else f"{lost:.2f}, {100 * (mean['qat4'] - mean['ptq4']):+.2f}"
        against = f"{100 * (mean['ptq8'] - mean['ort8']):+.2f}" if {"ptq8", "ort8"} <= set(mean) else "–"
        kept = next((e["weight_bytes"] for e in mine if e["arm"] == "ptq8"), None)
        saved = "–" if kept is None else f"−{100 * (1 - kept['kept'] / kept['float32']):.0f} %"
        rows.append(f"| {name} | {len(seeds)} | {' | '.join(cells)} | {saved} | {within} | {back} | {against} |")
        facts.append({"recipe": name, "seeds": seeds, "mean": mean, "within": within, "saved": saved})
    text = "\n".join([
        "# What 8 and 4 bits cost", "", "Headline of each task on its test split in ONNX Runtime, in percent (1 − MSE of forecasts), means over seeds.",
        "Command: `python benchmarks/quantize.py run`, then `table`; each line of the ledger names commit, versions and processor.",
        "Of spoken digits ONNX Runtime's quantiser also rounds the log-mel spectrogram in the file; ours leaves what stands before the model in float32.", "", *rows, "",
    ])  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "quantize.md").write_text(text)
    (out / "quantize.json").write_text(json.dumps(facts, indent=1) + "\n")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "smoke"), nargs="?", default="smoke")
    parser.add_argument("--only", nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    options = parser.parse_args()
    if options.what == "table":
        print(table(options.ledger, options.ledger.parent))
    elif options.what == "run":
        run(options.ledger, options.only, options.seeds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Path(folder) / "quantize.jsonl"
            run(ledger, ["digits"], 1, small=True)
            print(table(ledger, Path(folder)))


if __name__ == "__main__":
    main()
