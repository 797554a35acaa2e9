"""What does generated C take on an emulated Cortex-M4, does it give TensorFlow Lite Micro's codes, and can its instructions be foretold?

Usage:
    python benchmarks/mcu.py            # all of it; writes docs/results/mcu.md and .json
    python benchmarks/mcu.py fit        # fits the costs of instructions to random layers; writes src/potstill/mcu/instructions_m4.json
    python benchmarks/mcu.py sizes      # builds each kernel; writes src/potstill/mcu/code_m4.json
    python benchmarks/mcu.py smoke      # one model and one operator, nothing written
    python benchmarks/mcu.py tflm --sources DIR    # the same models in TensorFlow Lite Micro with CMSIS-NN; adds them to mcu.json and mcu.md

DIR has the six repositories of `_tflm.SOURCES` at its commits; where one is missing, the error says which commands get it. The library is
built once, into POTSTILL_CACHE.
Models: the four of MLPerf Tiny (POTSTILL_DATA, or ../shared/data) and students of our zoo, trained for a few steps and quantised in
int8_static_per_channel. Random models: 20 of each kind of operator, on this machine under sanitizers and on the core. Needs the extras
mcu and runtimes, gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import _mcu_page
import _tflm

from potstill.core import atomic
from potstill.core.errors import BudgetError, PotstillError
from potstill.mcu.build import CORES, Core, Image, build_core, build_host, emulate, kernel_sizes, run_host, trace
from potstill.mcu.code import Call
from potstill.mcu.estimate import CODE
from potstill.mcu.export import Generated, Rows, generate, made_up, write_files
from potstill.mcu.instructions import COSTS, fitted, modelled
from potstill.mcu.oracle import Oracle, identity
from potstill.mcu.rows import num_different
from potstill.mcu.write import write_model
from potstill.pipeline.cache import default_root
from potstill.testing.one_operator import MAKERS, random_model, side_by_side

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
DATA = Path(os.environ.get("POTSTILL_DATA", ROOT.parent / "shared" / "data")) / "mlperf_tiny"
M4 = CORES["cortex-m4"]
HOST_ROWS, CORE_ROWS, FUZZED, FITTED = 100, 4, 20, 60
TINY = {
    "keyword spotting": "kws_ref_model",
    "ResNet-8": "pretrainedResnet_quant",
    "autoencoder": "ad01_int8",
    "wake words": "vww_96_int8",
}
"""Name -> file."""
STUDENTS = ("ds-cnn", "resnet", "mobilenet-v2", "efficientnet-lite", "ds-cnn-1d", "tcn", "forecast-linear")


def answers(data: bytes, made: Generated, rows: Rows) -> Rows:
    oracle = Oracle(data, made.model)
    found = oracle(rows)
    oracle.close()
    return found


def student(kind: str) -> bytes:
    """Return a small student of a family as a .tflite file of integers."""
    from torch import nn

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise
    from potstill.exporters.litert import LiteRTSpec
    from potstill.models import registry
    from potstill.testing.examples import example
    from potstill.testing.quantised import trained

    with tempfile.TemporaryDirectory() as folder:
        new, x = trained(example(registry[kind], Path(folder)))
        made = quantise(new.module, x, "int8_static_per_channel", CalibrationSpec())
        LiteRTSpec().export(nn.Sequential(nn.Identity(), new.module), x.numpy(), Path(folder), made.spec)
        return (Path(folder) / "student.tflite").read_bytes()


def bytes_of(name: str) -> bytes:
    """Return a model's .tflite file."""
    return (DATA / f"{TINY[name]}.tflite").read_bytes() if name in TINY else student(name)


def image_for(core: Core, folder: Path) -> Image:
    size = {"flash_bytes": core.flash_bytes, "ram_bytes": core.ram_bytes}
    return build_core(folder / "c", core, folder / f"{core.name}.elf", **size)


def built(made: Generated, rows: Rows, folder: Path) -> tuple[Rows, Image]:
    """Return (what a model gives here under sanitizers, its image for the core)."""
    write_files(made, folder / "c")
    here = run_host(build_host(folder / "c", folder / "host", sanitize=True), made.report, rows)
    return here, image_for(M4, folder)


def elsewhere(core: Core, made: Generated, rows: Rows, wanted: Rows, folder: Path) -> dict[str, int] | None:
    """Return what a model gives and takes on another core; None where it does not fit the emulated board."""
    try:
        found = emulate(image_for(core, folder).path, core, made.report, rows)
    except BudgetError:
        return None
    return {"different": num_different(found.outputs, wanted)[1], "instructions": found.instructions}


def measured(name: str, data: bytes) -> dict[str, Any]:
    made = generate(data, f"{name}.tflite")
    rows = made_up(made.model, HOST_ROWS, 1)
    wanted = answers(data, made, rows)
    with tempfile.TemporaryDirectory() as folder:
        here, image = built(made, rows, Path(folder))
        few, wanted_few = rows[:CORE_ROWS], wanted[:CORE_ROWS]
        first, again = (emulate(image.path, M4, made.report, few) for _ in range(2))
        others = {c.name: elsewhere(c, made, few, wanted_few, Path(folder)) for c in CORES.values() if c != M4}
    guess = modelled(made.program)
    return {
        "model": name, "sha256": hashlib.sha256(data).hexdigest(), "macs": made.program.macs,
        "different_here": num_different(here, wanted)[1], "different_emulated": num_different(first.outputs, wanted_few)[1],
        "instructions": first.instructions, "same_again": first.instructions == again.instructions,
        "instructions_modelled": guess, "modelled_off": None if guess is None else guess / first.instructions - 1,
        "flash_bytes": image.code_bytes + image.weight_bytes, "code_bytes": image.code_bytes, "weight_bytes": image.weight_bytes,
        "ram_bytes": image.static_ram_bytes, "stack_bytes": first.stack_bytes, "arena_bytes": made.plan.arena,
        "arena_bound_bytes": made.plan.bound, "other_cores": others,
    }  # fmt: skip


def fuzzed(kind: str, num: int) -> dict[str, Any]:
    model = side_by_side([random_model(kind, (11, i)) for i in range(num)], f"{kind}.tflite")
    data = write_model(model)
    made = generate(data, model.name)
    rows = made_up(model, 8, 3)
    wanted = answers(data, made, rows)
    with tempfile.TemporaryDirectory() as folder:
        here, image = built(made, rows, Path(folder))
        there = emulate(image.path, M4, made.report, rows).outputs
    return {
        "kind": kind,
        "models": num,
        "different_here": num_different(here, wanted)[1],
        "different_emulated": num_different(there, wanted)[1],
    }


def fit() -> None:
    """Write what each kernel's counts cost, from random layers that are in none of the models judged."""
    calls: list[tuple[Call, int]] = []
    for kind in MAKERS:
        made = generate(write_model(side_by_side([random_model(kind, (21, i)) for i in range(FITTED)], kind)), kind)
        for suffix in ("", "_wide"):
            found = traced(made, suffix)
            calls += found
            print(f"{kind}{suffix}", len(found), flush=True)
    atomic.write_json(COSTS, fitted(calls))


def traced(made: Generated, suffix: str) -> list[tuple[Call, int]]:
    """Return each call with the instructions that it took. `_wide` kernels do all that the others do: with that suffix, in their stead."""
    widened = {n.removesuffix(suffix) for n in kernel_sizes(M4) if suffix and n.endswith(suffix)}
    used = [(i, c) for i, c in enumerate(made.program.calls) if not suffix or c.kernel in widened]
    if not used:
        return []
    text = made.files["model.c"].decode()
    for name in widened:
        text = text.replace(f"{name}(", f"{name}{suffix}(")
    with tempfile.TemporaryDirectory() as folder:
        write_files(replace(made, files={**made.files, "model.c": text.encode()}), Path(folder))
        took = trace(Path(folder), M4, made_up(made.model, 1, 2)[0])
    return [(replace(call, kernel=call.kernel + suffix), took[i]) for i, call in used]


def beside(row: dict[str, Any], micro: _tflm.Micro) -> dict[str, Any]:
    """Return what a measured model gives and takes in TensorFlow Lite Micro."""
    data = bytes_of(row["model"])
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise PotstillError(
            f"{row['model']}: must be the model of {RESULTS / 'mcu.json'}; got another. Measure it first: python benchmarks/mcu.py"
        )
    made = generate(data, f"{row['model']}.tflite")
    rows = made_up(made.model, HOST_ROWS, 1)[:CORE_ROWS]
    found = _tflm.took(micro, data, made, rows)
    image = found.image
    return {
        "different": num_different(found.emulated.outputs, answers(data, made, rows))[1], "instructions": found.emulated.instructions,
        "flash_bytes": image.code_bytes + image.weight_bytes, "code_bytes": image.code_bytes, "weight_bytes": image.weight_bytes,
        "ram_bytes": image.static_ram_bytes, "stack_bytes": found.emulated.stack_bytes, "arena_bytes": found.arena_bytes,
    }  # fmt: skip


def measure_tflm(sources: Path) -> None:
    micro = _tflm.library(sources.resolve(), default_root() / "tflm", M4)
    found = atomic.read_json(RESULTS / "mcu.json")
    found["tflm"] = {name: commit for name, (_, commit) in _tflm.SOURCES.items()}
    for row in found["models"]:
        row["tflm"] = beside(row, micro)
        print(row["model"], json.dumps(row["tflm"]), flush=True)
    written(found)


def written(found: dict[str, Any]) -> None:
    atomic.write_json(RESULTS / "mcu.json", found)
    (RESULTS / "mcu.md").write_text(_mcu_page.page(found))


def measure(what: str) -> None:
    names = ("keyword spotting",) if what == "smoke" else (*TINY, *STUDENTS)
    found: dict[str, Any] = {"oracle": identity(), "models": [], "random": []}
    found |= {"rows_here": HOST_ROWS, "rows_emulated": CORE_ROWS, "random_models": FUZZED, "fitted_layers": FITTED}
    for name in names:
        found["models"].append(measured(name, bytes_of(name)))
        print(json.dumps(found["models"][-1]), flush=True)
    for kind in ("CONV_2D",) if what == "smoke" else MAKERS:
        found["random"].append(fuzzed(kind, FUZZED))
        print(json.dumps(found["random"][-1]), flush=True)
    if what == "all":
        before = atomic.read_json(RESULTS / "mcu.json")
        kept = {row["sha256"]: row["tflm"] for row in before["models"] if "tflm" in row}
        for row in found["models"]:
            row |= {"tflm": kept[row["sha256"]]} if row["sha256"] in kept else {}
        written(found | {k: before[k] for k in ("tflm",) if k in before})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="all", choices=("all", "fit", "sizes", "smoke", "tflm"))
    parser.add_argument("--sources", type=Path)
    given = parser.parse_args()
    if given.what == "fit":
        fit()
    elif given.what == "sizes":
        atomic.write_json(CODE, kernel_sizes(M4))
    elif given.what == "tflm":
        if given.sources is None:
            parser.error("tflm needs --sources")
        measure_tflm(given.sources)
    else:
        measure(given.what)


if __name__ == "__main__":
    main()
