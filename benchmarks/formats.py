"""What does each format of one trained student cost and keep: bytes, accuracy on the test split, latency, all in one run?

Usage:
    python benchmarks/formats.py digits      # the student of recipes/digits.yaml, its first seed, trained here
    python benchmarks/formats.py resnet20    # the trained ResNet-20 of recipes/cifar10.yaml; needs POTSTILL_DATA, as that recipe does
    python benchmarks/formats.py page        # writes docs/results/formats.md of what was run

Every format's file answers the whole test split (of CIFAR-10 its first 2,000 rows) in its own runtime. Latency: one sample at a time, one
thread, all formats and the module in eager PyTorch by turns, in blocks; a ratio is that of the blocks' medians over eager.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import RESULTS, machine, table, where
from exports import FLOAT, PACKAGES, columns, name_of, reason, short

from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import package_versions
from potstill.core.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
RECORD = RESULTS / "formats.json"
SUBJECTS = ("digits", "resnet20")
ROWS = 512
"""Training rows that ranges are found on."""
MOST = 2000
"""Test rows of CIFAR-10 that are asked."""


@dataclass(frozen=True)
class Subject:
    """A trained model and its data."""

    dataset: Any
    model: Any
    task: Any
    rows: int


def subject(name: str) -> Subject:
    """Return what is exported; it is trained where it is not in the cache."""
    from quantize import recipe_of, student_of

    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model

    if name == "digits":
        recipe = recipe_of("digits", "float", 1, small=False)
        prepared, folder, _ = student_of(recipe, recipe.seed)
        dataset = Dataset.open(prepared)
        return Subject(dataset, load_model(folder), recipe.task, len(dataset.splits["test"]))
    return _resnet()


def _resnet() -> Subject:
    from quantize import recipe_of

    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model, load_weights, save_model
    from potstill.pipeline.cache import ArtifactCache, default_root
    from potstill.pipeline.execute import Executor
    from potstill.pipeline.graph import build
    from potstill.stages import RunOptions
    from potstill.stages._parts import data_io

    recipe = recipe_of("cifar10", "float", 1, small=False)
    cache = ArtifactCache(default_root())
    graph = build(recipe, cache.digests, cache)
    Executor(graph, cache, RunOptions(cache.root, threads=1), Progress("quiet")).run(graph.nodes["prepare"])
    dataset = Dataset.open(cache.path(graph.nodes["prepare"].key))
    spec: Any = recipe.teacher.model  # type: ignore[attr-defined]
    io = data_io(dataset)
    spec = spec.model_copy(update={"input": spec.input.resolved(io, dataset.stats)})
    module = spec.build(io)
    load_weights(module, spec.weights, "resnet20")
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), module.eval(), spec, io, dataset.classes)
        return Subject(dataset, load_model(Path(folder)), recipe.task, MOST)


def quantised(it: Subject, scheme: str) -> Any:
    """Return the model quantised after training, its ranges those of training rows."""
    import torch

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise
    from potstill.stages._parts import gather

    train = it.dataset.splits["train"]
    drawn = np.sort(np.random.default_rng(0).permutation(len(train))[:ROWS])
    with torch.no_grad():
        x = it.model.preprocess(torch.from_numpy(gather(train, drawn)[0]))
    return quantise(it.model.module, x, scheme, CalibrationSpec())  # type: ignore[arg-type]


def measured(it: Subject) -> dict[str, Any]:
    """Return every format's figures, and eager PyTorch's under "eager"."""
    import torch

    from potstill.compress.quant_float import weight_bytes
    from potstill.verify.latency import calling, interleaved

    torch.set_num_threads(1)
    whole = torch.nn.Sequential(it.model.preprocess.inside, it.model.module).eval()
    one = _inputs(it, np.arange(1))

    def eager(inputs: Any) -> Any:
        with torch.inference_mode():
            return whole(torch.from_numpy(inputs)).numpy()

    found: dict[str, Any] = {"eager": answered(it, eager)}
    calls: dict[str, Any] = {"float": lambda: eager(one)}
    made = {s: quantised(it, s) for s in dict.fromkeys(s for _, s in columns()) if s != FLOAT}
    specs = {FLOAT: None, **{scheme: few.spec for scheme, few in made.items()}}
    with tempfile.TemporaryDirectory() as work:
        for kind, scheme in columns():
            out = Path(tempfile.mkdtemp(dir=work))
            try:
                artifact = exported(kind, whole, _inputs(it, np.arange(4)), out, specs[scheme])
                check(it, whole, made.get(scheme), artifact)
                figures = answered(it, artifact)
            except PotstillError as err:
                found[name_of((kind, scheme))] = {"reason": reason(err)}
                continue
            calls[name_of((kind, scheme))] = calling(artifact, one)
            kept = weight_bytes(it.model.module, specs[scheme])
            found[name_of((kind, scheme))] = {**figures, "bytes": artifact.path.stat().st_size, "weights": kept}
            print(kind, scheme, figures, flush=True)
        times = interleaved(calls, blocks=30, lock=Path(work) / "lock")
    for name, figures in times.items():
        found["eager" if name == "float" else name]["latency_ms"] = figures
    return found


def check(it: Subject, whole: Any, made: Any, artifact: Any) -> None:
    """Raise ParityError unless the artifact gives what stands before it, as the export stage does."""
    from torch import nn

    from potstill.exporters.parity import compare, compare_rounded

    inputs = _inputs(it, np.arange(min(64, it.rows)))
    if made is None:
        compare(whole, artifact, inputs, 1e-4)
        return
    step = None if made.spec.output is None else made.spec.values[made.spec.output].scale
    rounding = nn.Sequential(it.model.preprocess.inside, made.fake).eval()
    compare_rounded(whole, rounding, artifact, inputs, step)


def exported(kind: str, whole: Any, inputs_BX: Any, out: Path, spec: Any) -> Any:
    """Return the opened artifact of one format."""
    from potstill.exporters import registry

    exporter: Any = registry[kind].model_validate({})
    return exporter.export(whole, inputs_BX, out, spec)


def _inputs(it: Subject, rows: Any) -> Any:
    from potstill.stages._parts import gather

    return it.model.preprocess.outside_numpy(gather(it.dataset.splits["test"], rows.astype(np.int64))[0])


def answered(it: Subject, artifact: Any) -> dict[str, Any]:
    """Return the headline over the test rows."""
    from potstill.tasks import Truth
    from potstill.verify.accuracy import run_split

    outputs = run_split(artifact, it.rows, lambda rows: _inputs(it, rows), Progress("quiet"))
    truth = Truth.of(it.dataset, "test")
    if it.rows < len(it.dataset.splits["test"]):
        truth = truth.take(np.arange(it.rows))
    return {"accuracy": float(it.task.correct(outputs, truth).mean()), "rows": it.rows}


def rows_of(found: dict[str, Any]) -> list[list[str]]:
    """Return the table's rows."""
    eager = found["eager"]
    base = found[name_of(("onnx", FLOAT))]["bytes"]
    out = [["eager PyTorch, float32", "", "", f"{eager['accuracy']:.4f}", "", *_times(eager)]]
    for kind, scheme in columns():
        one = found.get(name_of((kind, scheme)))
        if one is None or "reason" in one:
            out.append([f"{kind}, {short(scheme)}", *["–"] * 6])
            continue
        kept, drop = one["weights"], 100 * (one["accuracy"] - eager["accuracy"])
        saved = "" if scheme == FLOAT else f"{100 * (kept['kept'] / kept['float32'] - 1):+.0f} %"
        out.append([
            f"{kind}, {short(scheme)}", f"{one['bytes']:,} ({100 * (one['bytes'] / base - 1):+.0f} %)", saved, f"{one['accuracy']:.4f}",
            f"{drop:+.2f}", *_times(one),
        ])  # fmt: skip
    return out


def _times(one: dict[str, Any]) -> list[str]:
    found, over = one["latency_ms"], one["latency_ms"].get("ratio_float")
    ratio = "" if over is None else f"{over['value']:.2f} [{over['low']:.2f}, {over['high']:.2f}]"
    return [f"{found['median']:.3f}", ratio]


def page(record: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# One student in every format",
        "Files of one trained model, each asked over the test rows in its own runtime; schemes of fewer bits are found after training, on "
        f"{ROWS} training rows. Bytes are of the whole file, in brackets against the ONNX file in float32; weights are those of convolutions, "
        "linear layers and embeddings, as the QuantSpec keeps them. Points: accuracy against eager PyTorch. Latency is measured here, one sample, "
        "one thread, all by turns; × eager is the median of the blocks' ratios with its 95 % interval: below 1 is faster. TorchScript, "
        "AOTInductor, ExecuTorch and LiteRT ran in child processes and were timed there.",
    ]
    for name in SUBJECTS:
        if name not in record:
            continue
        it = record[name]
        head = ["format", "bytes", "weights", "accuracy", "points", "median, ms", "× eager"]
        lines += [f"## {it['title']}", table(head, rows_of(it["figures"])), _claims(it["figures"])]
        lines += [f"- {key}: {one['reason']}" for key, one in it["figures"].items() if "reason" in one]
        lines.append(where(f"python benchmarks/formats.py {name}", it["machine"]))
    return "\n\n".join(line for line in lines if line) + "\n"


def _claims(found: dict[str, Any]) -> str:
    script = found["torchscript float32"]["latency_ms"]["ratio_float"]
    half, whole = found["onnx float16"], found["onnx int8_static_per_channel"]
    return (
        f"Weights: static int8 {100 * (whole['weights']['kept'] / whole['weights']['float32'] - 1):+.0f} %, float16 "
        f"{100 * (half['weights']['kept'] / half['weights']['float32'] - 1):+.0f} %, whose drop is "
        f"{100 * (found['eager']['accuracy'] - half['accuracy']):.2f} points. TorchScript takes {100 * (1 - script['value']):.0f} % less time "
        f"than eager (95 %: {100 * (1 - script['high']):.0f} to {100 * (1 - script['low']):.0f} %)."
    )


TITLES = {
    "digits": "The student of digits (970 parameters)",
    "resnet20": f"A trained ResNet-20, CIFAR-10, first {MOST:,} test rows",
}


def main() -> None:
    """Do what is asked."""
    asked = sys.argv[1] if len(sys.argv) == 2 else ""
    if asked not in (*SUBJECTS, "page"):
        sys.exit(__doc__)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if asked != "page":
        figures = measured(subject(asked))
        packages = {k: v for k, v in package_versions(PACKAGES).items() if k != "python"}
        record[asked] = {"title": TITLES[asked], "figures": figures, "machine": {**machine("0"), "packages": packages}}
        atomic.write_json(RECORD, record)
    atomic.write_bytes(RESULTS / "formats.md", page(record).encode())


if __name__ == "__main__":
    main()
