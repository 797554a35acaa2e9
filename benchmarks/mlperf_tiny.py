"""The six files of MLPerf Tiny: what `potstill verify` measures of them here, which devices `potstill fit` finds for them, and what it
predicts beside what was published, their own rows held out.

Writes docs/results/mlperf-tiny.md and .json. Of data there is CIFAR-10 alone: the two ResNets are asked over its test split, of the others
structure, latency and memory are measured, and their accuracy stays unknown.

Usage:
    POTSTILL_DATA=... python benchmarks/mlperf_tiny.py
    POTSTILL_DATA=... python benchmarks/mlperf_tiny.py fit    # what is modelled alone; what was measured stays, with its machine
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
from _measure import RESULTS, ROOT, machine, table, where
from devices import DATA, FILES, tiny

from potstill.core import atomic

RECIPE = ROOT / "recipes" / "cifar10.yaml"
M4 = "stm32l4r5"
ASKED = {"pretrainedResnet.tflite": 255, "pretrainedResnet_quant.tflite": 255}
"""File -> its range of pixels: those for which there is data."""


def verified() -> dict[str, Any]:
    """Return what `potstill verify` says of each file."""
    out = {}
    for file in FILES:
        data = ["--data", str(RECIPE), "--scale", str(ASKED[file])] if file in ASKED else []
        (found,) = _said("verify", str(DATA / "mlperf_tiny" / file), *data)
        out[file] = found | {"model": file}
    return out


def fitting() -> list[dict[str, Any]]:
    """Return what `potstill fit` says of each file on every device and runtime, without a budget but the device's own."""
    out = []
    for file in FILES:
        for device in _said("fit", str(DATA / "mlperf_tiny" / file), "--all-devices"):
            for judged in device["runtimes"]:
                lines = {line["name"]: line for line in judged["lines"]}
                latency = lines["latency_ms"]
                made = device["cost"]["generated"] if _named(judged["runtime"]).startswith("potstill C") else ""
                ends = {} if isinstance(made, str) else {"generated": made} | {
                    n: [lines[k]["low"], lines[k]["high"]] for n, k in (("flash_bytes", "flash_bytes"), ("ram_bytes", "peak_memory_bytes"))}  # fmt: skip
                out.append({
                    "file": file, "device": judged["device"], "runtime": _named(judged["runtime"]), "verdict": judged["verdict"],
                    "binding": judged["binding"], **ends, **{k: latency[k] for k in ("value", "low", "high", "word", "reason")},
                })  # fmt: skip
    return out


def _named(runtime: dict[str, Any] | None) -> str:
    return "" if runtime is None else " ".join(filter(None, (runtime["runtime"], runtime["version"], runtime["dtype"])))


def _said(*arguments: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-m", "potstill", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"potstill {' '.join(arguments)}: exit {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def page(figures: dict[str, Any]) -> str:
    """Return the page but for its last line."""
    return "\n\n".join([
        "# The files of MLPerf Tiny",
        "## Measured here",
        "`potstill verify FILE`, in LiteRT, one thread; the ResNets with `--data recipes/cifar10.yaml --scale 255`, on this project's copy of the "
        "test split, which was compressed again as JPEG: not a published CIFAR-10 figure (ResNet-20, trained on the original, answers 81.0 % of "
        "this copy; see [recipes.md](recipes.md)). There is no data for the others: their accuracy is "
        "unknown. Memory is what the file adds to a process that has the runtime loaded.",
        table(["file", "takes", "gives", "accuracy", "rows", "median, ms", "p95, ms", "bytes", "peak memory, bytes"],
              [_measured_row(file, one) for file, one in figures["verified"].items()]),
        "## Published, and predicted without their own rows",
        "Latency of each published row beside what the device's form predicts where it is fitted to the other models alone; the whole table is in "
        "[devices.md](devices.md).",
        table(["file", "published rows", "predicted", "within 25 %", "mean error", "worst"], _held_rows(figures["held_out"])),
        "## Which device runs which file",
        "`potstill fit FILE --all-devices`: verdicts of device and runtime together, against the device's own memory. A latency is modelled, and "
        "unknown where a file is unlike all published models.",
        table(["file", "fits", "does not fit", "unknown", "modelled latencies", "from, ms", "to, ms"], _fit_rows(figures["fit"])),
        f"### Generated C on a Cortex-M4 ({M4})",
        "This project's C as modelled from each file's graph, without a compiler (instructions times an interval of cycles, over the clock; flash and RAM "
        "within bounds), beside what was published on the same board under other runtimes. No board of this core was timed under generated C: "
        "nothing here says how far off the modelled milliseconds are. What the instructions are off by is in [mcu.md](mcu.md). What is modelled on this page is made anew by `python benchmarks/mlperf_tiny.py fit`.",
        table(["file", "instructions, modelled", "latency, ms (modelled)", "flash, KB (modelled)", "RAM, KB (modelled)", "published, ms: fastest, median, slowest", "rows"],
              _c_rows(figures["fit"], figures["held_out"])),
        "### Microcontrollers", table(["file", "device", "runtime", "verdict", "latency, ms (modelled)", "band, ms"], _small_rows(figures["fit"])),
    ])  # fmt: skip


def _end(end: dict[str, Any]) -> str:
    codes = f", {end['scale']:.4g}·(code {-end['zero_point']:+d})" if "scale" in end else ""
    return f"{end['shape'][1:]} {end['dtype']}{codes}"


def _measured_row(file: str, one: dict[str, Any]) -> list[str]:
    found, alone = one["accuracy"], "inputs" in one
    value = "unknown" if found["value"] is None else f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"
    return [
        file, _end(one["inputs"]) if alone else "32×32 pictures", _end(one["outputs"]) if alone else "10 classes", value,
        str(one.get("rows", "")), f"{one['latency_ms']['median']:.3f}", f"{one['latency_ms']['p95']:.3f}", f"{one['file_bytes']:,}",
        f"{one['peak_memory_bytes']['value']:,}",
    ]  # fmt: skip


def _held_rows(held: list[dict[str, Any]]) -> list[list[str]]:
    out = []
    for file in FILES:
        there = [f for f in held if f["file"] == file]
        errors = [abs(f["predicted_ms"] / f["published_ms"] - 1) for f in there if f["predicted_ms"] is not None]
        near = f"{sum(e <= 0.25 for e in errors)} of {len(errors)}" if errors else "-"
        shown = [f"{100 * float(np.mean(errors)):.0f} %", f"{100 * max(errors):.0f} %"] if errors else ["unknown", "-"]
        out.append([file, str(len(there)), str(len(errors)), near, *shown])
    return out


def _fit_rows(judged: list[dict[str, Any]]) -> list[list[str]]:
    out = []
    for file in FILES:
        there = [j for j in judged if j["file"] == file]
        count = Counter(j["verdict"] for j in there)
        known = [j["value"] for j in there if j["value"] is not None]
        ends = [f"{min(known):.3g}", f"{max(known):.3g}"] if known else ["-", "-"]
        out.append([file, *(str(count[v]) for v in ("fits", "does not fit", "unknown")), str(len(known)), *ends])
    return out


def _c_rows(judged: list[dict[str, Any]], held: list[dict[str, Any]]) -> list[list[str]]:
    out = []
    for j in (j for j in judged if j["runtime"].startswith("potstill C") and j["device"] == M4):
        if "generated" not in j:
            continue
        times = sorted(f["published_ms"] for f in held if f["file"] == j["file"] and f["device"] == M4)
        took = sum(j["generated"][f"{part}_instructions"] for part in ("product", "value", "place"))
        kb = [f"{low / 1e3:.1f} to {high / 1e3:.1f}" for low, high in (j["flash_bytes"], j["ram_bytes"])]
        out.append([j["file"], f"{took / 1e6:.3f} M", f"{j['value']:.3g} [{j['low']:.3g}, {j['high']:.3g}]", *kb,
                    f"{times[0]:.4g}, {float(np.median(times)):.4g}, {times[-1]:.4g}", str(len(times))])  # fmt: skip
    return out


def _small_rows(judged: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [j["file"], j["device"], j["runtime"], j["verdict"], f"{j['value']:.4g}", f"{j['low']:.3g} to {j['high']:.3g}"]
        for j in judged if j["value"] is not None and j["device"].startswith(("stm32", "nano", "esp32", "rp2"))
    ]  # fmt: skip


def main() -> None:
    """Ask, and write the page."""
    kept = atomic.read_json(RESULTS / "mlperf-tiny.json") if sys.argv[1:] == ["fit"] else None
    measured = verified() if kept is None else kept["figures"]["verified"]
    figures = {"verified": measured, "held_out": tiny(), "fit": fitting()}
    record = {"figures": figures, "machine": machine("none") if kept is None else kept["machine"]}
    text = f"{page(figures)}\n\n{where('python benchmarks/mlperf_tiny.py', record['machine'])}\n"
    atomic.write_json(RESULTS / "mlperf-tiny.json", record)
    atomic.write_bytes(RESULTS / "mlperf-tiny.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
