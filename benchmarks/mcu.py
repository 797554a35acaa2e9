"""What does generated C take on an emulated Cortex-M4, does it give TensorFlow Lite Micro's codes, and can its instructions be foretold?

Usage:
    python benchmarks/mcu.py            # all of it; writes docs/results/mcu.md and .json
    python benchmarks/mcu.py fit        # fits the costs of instructions to random layers; writes src/potstill/mcu/instructions_m4.json
    python benchmarks/mcu.py sizes      # builds each kernel; writes src/potstill/mcu/code_m4.json
    python benchmarks/mcu.py smoke      # one model and one operator, nothing written

Models: the four of MLPerf Tiny (POTSTILL_DATA, or ../shared/data) and students of our zoo, trained for a few steps and quantised in
int8_static_per_channel. Random models: 20 of each kind of operator, on this machine under sanitizers and on the core. Needs the extras
mcu and runtimes, gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.mcu.build import CORES, build_core, build_host, emulate, kernel_sizes, run_host, trace
from potstill.mcu.code import Call
from potstill.mcu.estimate import CODE
from potstill.mcu.export import Generated, Rows, generate, made_up, write_files
from potstill.mcu.instructions import COSTS, fitted, modelled
from potstill.mcu.oracle import Oracle, identity
from potstill.mcu.rows import num_different
from potstill.mcu.write import write_model
from potstill.testing.one_operator import MAKERS, random_model, side_by_side

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
DATA = Path(os.environ.get("POTSTILL_DATA", ROOT.parent / "shared" / "data")) / "mlperf_tiny"
M4 = CORES["cortex-m4"]
HOST_ROWS, CORE_ROWS, FUZZED, FITTED = 100, 4, 20, 60
TINY = {
    "keyword spotting": ("kws_ref_model", (8.01, 104.1, 23.9 + 1.4)),
    "ResNet-8": ("pretrainedResnet_quant", (31.74, 149.4, 54.9 + 1.4)),
    "autoencoder": ("ad01_int8", (0.579, 302.6, 2.4 + 1.1)),
    "wake words": ("vww_96_int8", (25.16, 383.4, 100.7 + 1.4)),
}
"""Name -> file, and what TensorFlow Lite Micro with CMSIS-NN took there: M instructions, KB of flash and of RAM. Its figures are those of
this project's prototype, built by gcc 12.2 -O2 for the same emulated core; they are not measured again here."""
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


def built(made: Any, rows: Any, folder: Path) -> tuple[Any, Any]:
    """Return (what a model gives here under sanitizers, its image for the core)."""
    write_files(made, folder / "c")
    here = run_host(build_host(folder / "c", folder / "host", sanitize=True), made.report, rows)
    size = {"flash_bytes": M4.flash_bytes, "ram_bytes": M4.ram_bytes}
    return here, build_core(folder / "c", M4, folder / "m4.elf", **size)


def measured(name: str, data: bytes) -> dict[str, Any]:
    made = generate(data, f"{name}.tflite")
    rows = made_up(made.model, HOST_ROWS, 1)
    wanted = answers(data, made, rows)
    with tempfile.TemporaryDirectory() as folder:
        here, image = built(made, rows, Path(folder))
        first, again = (emulate(image.path, M4, made.report, rows[:CORE_ROWS]) for _ in range(2))
    guess = modelled(made.program)
    return {
        "model": name, "macs": made.program.macs, "rows_here": len(rows), "rows_emulated": CORE_ROWS,
        "different_here": num_different(here, wanted)[1], "different_emulated": num_different(first.outputs, wanted[:CORE_ROWS])[1],
        "instructions": first.instructions, "same_again": first.instructions == again.instructions,
        "instructions_modelled": guess, "modelled_off": None if guess is None else guess / first.instructions - 1,
        "flash_bytes": image.code_bytes + image.weight_bytes, "code_bytes": image.code_bytes, "weight_bytes": image.weight_bytes,
        "ram_bytes": image.static_ram_bytes, "stack_bytes": first.stack_bytes, "arena_bytes": made.plan.arena,
        "arena_bound_bytes": made.plan.bound,
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


def page(found: dict[str, Any]) -> str:
    same = "the same" if all(row["same_again"] for row in found["models"]) else "NOT always the same"
    lines = [
        "# Generated C on an emulated Cortex-M4", "",
        "Written by `python benchmarks/mcu.py`. gcc 12.2 -O2, QEMU 7.2 (mps2-an386, -icount shift=0): instructions are emulated, exact to a tick of 40;",
        f"flash and static RAM are those of the image that was built, the program that feeds the model included. Oracle: {found['oracle']['name']} {found['oracle']['version']}.",
        f"Codes: {HOST_ROWS} rows each on this machine under the address and undefined-behaviour sanitizers, {CORE_ROWS} on the core; each count of instructions was {same} in two runs.",
        "TFLM: with CMSIS-NN, as this project's prototype measured it on the same emulated core; it was not measured again here, and not for the students.", "",
        "| model | MACs | instructions | TFLM | flash KB (code) | TFLM | RAM + stack KB | TFLM | arena over least | codes that differ | instructions modelled |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found["models"]:
        beside = TINY.get(row["model"], ("", None))[1]
        tflm = [f"{v:g}" for v in beside] if beside else ["–"] * 3
        off = (
            "–"
            if row["modelled_off"] is None
            else f"{row['instructions_modelled'] / 1e6:.3f} M ({row['modelled_off']:+.1%})"
        )
        lines.append(
            f"| {row['model']} | {row['macs'] / 1e6:.3f} M | {row['instructions'] / 1e6:.3f} M | {tflm[0]} | {row['flash_bytes'] / 1e3:.1f} ({row['code_bytes'] / 1e3:.1f}) "
            f"| {tflm[1]} | {row['ram_bytes'] / 1e3:.1f} + {row['stack_bytes'] / 1e3:.2f} | {tflm[2]} | {row['arena_bytes'] / row['arena_bound_bytes']:.3f} "
            f"| {row['different_here'] + row['different_emulated']} | {off} |"
        )
    judged = [abs(r["modelled_off"]) for r in found["models"] if r["modelled_off"] is not None and r["macs"] > 100_000]
    lines += [
        "", f"The costs of instructions were fitted to {FITTED} random layers of each kind, none of them of these models: over the {len(judged)} models of more than",
        f"100 k MACs the modelled count is off by at most {max(judged, default=0):.1%}.", "",
        "Wake words: MACs are those left after channels that never change or are never read were taken out (7.490 M in the file).", "",
        "## Random models of one operator", "",
        f"{FUZZED} models a kind, 8 rows each, on this machine under sanitizers and on the core.", "", "| operator | codes that differ here | on the core |", "|---|---|---|",
        *(f"| {r['kind']} | {r['different_here']} | {r['different_emulated']} |" for r in found["random"]), "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    if what in ("fit", "sizes"):
        fit() if what == "fit" else atomic.write_json(CODE, kernel_sizes(M4))
        return
    names = {"keyword spotting"} if what == "smoke" else {*TINY, *STUDENTS}
    found: dict[str, Any] = {"oracle": identity(), "models": [], "random": []}
    for name in (n for n in (*TINY, *STUDENTS) if n in names):
        data = (DATA / f"{TINY[name][0]}.tflite").read_bytes() if name in TINY else student(name)
        found["models"].append(measured(name, data))
        print(json.dumps(found["models"][-1]), flush=True)
    for kind in ("CONV_2D",) if what == "smoke" else MAKERS:
        found["random"].append(fuzzed(kind, FUZZED))
        print(json.dumps(found["random"][-1]), flush=True)
    if what == "all":
        atomic.write_json(RESULTS / "mcu.json", found)
        (RESULTS / "mcu.md").write_text(page(found))


if __name__ == "__main__":
    main()
