"""From 1.2 million parameters to 86 thousand on a microcontroller: what does each step give, and what does it cost?

Usage:
    POTSTILL_DATA=... python benchmarks/mcu_steps.py [RUNG ...] [--seeds 3] [--threads 1]    # goes on where it was stopped
    python benchmarks/mcu_steps.py page                                                      # writes the page anew

Each rung is recipes/spoken-digits-mcu.yaml with its student or its steps changed: the same split, unseen test speakers and augmentation. It
is run in float and in int8; the int8 student of the first seed as generated C on an emulated Cortex-M4. Needs the extras mcu, prune and
runtimes, gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm. Writes docs/results/mcu_steps.md and .json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _measure as measure

BIG = {"kind": "resnet", "depth": 8, "width": 64}
HARD = [{"kind": "hard-label"}]
RECIPE = measure.ROOT / "recipes" / "spoken-digits-mcu.yaml"
FLOAT, EMULATED_ROWS = 4, 20
RUNGS = {
    "big": "ResNet-8, 64 channels, labels alone",
    "separable": "DS-CNN, 64 channels, labels alone",
    "distilled": "DS-CNN, 64 channels, distilled",
    "pruned": "DS-CNN, distilled, pruned, distilled again",
    "small": "DS-CNN, 35 channels, labels alone",
    "small-distilled": "DS-CNN, 35 channels, distilled",
    "big-teaches": "DS-CNN, 64 channels, distilled from the ResNet-8",
}
STEPS = [
    ("architecture", "separable", "big"),
    ("distillation", "distilled", "separable"),
    ("pruning", "pruned", "distilled"),
    ("all three", "pruned", "big"),
    ("beside: pruned to that size, against made that size and distilled", "pruned", "small-distilled"),
    ("beside: pruned to that size, against made that size on labels alone", "pruned", "small"),
    ("beside: made that size, distilled against labels alone", "small-distilled", "small"),
    ("beside: the ResNet-8 as the teacher, against labels alone", "big-teaches", "separable"),
]


def recipe_of(rung: str, seeds: int) -> dict[str, Any]:
    """Return the shipped recipe, changed; its last step is the rounding to 8 bits."""
    raw: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    distil, *_, last = raw["steps"]
    raw |= {"seeds": seeds, "controls": []}
    raw.pop("devices", None)
    if rung == "big":
        distil["training"]["epochs"] = 20
        raw["student"] = {**BIG, "input": raw["student"]["input"]}
    if rung == "big-teaches":
        training = {**distil["training"], "epochs": 20}
        raw["teacher"] = {"kind": "train", "model": {**BIG, "input": raw["student"]["input"]}, "training": training}
    if rung.startswith("small"):
        raw["student"]["width"] = 35
    if rung in ("small", "separable", "big"):
        distil["objectives"] = HARD
    if rung.startswith("small"):
        distil["training"]["epochs"] = 60
    if rung != "pruned":
        raw["steps"] = [distil, last]
    return raw


def rung_of(rung: str, seeds: int, threads: int) -> dict[str, Any]:
    """Return what is kept of a rung."""
    from potstill.verify.emulated import target_of, verify_on_core

    raw = recipe_of(rung, seeds)
    name = f"mcu-steps-{rung}"
    whole, _ = measure.run_recipe({**raw, "name": f"{name}-float", "steps": raw["steps"][:-1], "export": []}, threads)
    eight, out = measure.run_recipe({**raw, "name": name}, threads)
    on_core = verify_on_core(out / "c", target_of("cortex-m4"), None, EMULATED_ROWS)
    model, arm, exact = whole["models"]["student"], whole["arms"][0], eight["arms"][0]
    return {
        "rung": rung, "seeds": arm["seeds"], "params": model["params"], "macs": model["macs"], "teacher": whole["teacher"]["accuracy"]["value"],
        "float": {"per_seed": arm["per_seed"], "weight_bytes": FLOAT * model["params"], "peak_activation_bytes": model["peak_activation_bytes"]},
        "int8": {"per_seed": exact["per_seed"], "through_c": eight["artifacts"][0]["accuracy"]["value"],
                 "weight_bytes": eight["quantised"]["weight_bytes"], "on_core": on_core},
    }  # fmt: skip


def kilo(value: float) -> str:
    return f"{value / 1000:,.1f}"


def said(rungs: dict[str, dict[str, Any]]) -> str:
    """Return the page's text."""
    rows, costs = [], []
    for name, title in RUNGS.items():
        if name not in rungs:
            continue
        row = rungs[name]
        core = row["int8"]["on_core"]
        rows.append([
            title, f"{row['params']:,}", f"{row['macs'] / 1e6:.2f} M", f"{100 * np.mean(row['float']['per_seed']):.1f} %",
            f"{100 * np.mean(row['int8']['per_seed']):.1f} %", f"{100 * row['int8']['through_c']:.1f} %",
        ])  # fmt: skip
        costs.append([
            title, kilo(row["float"]["weight_bytes"]), kilo(core["flash_bytes"]["value"]), kilo(row["float"]["peak_activation_bytes"]),
            f"{kilo(core['ram_bytes']['static'])} + {kilo(core['ram_bytes']['stack'])}", f"{core['instructions']['value'] / 1e6:.2f} M",
        ])  # fmt: skip
    steps = [
        [what, measure.paired(rungs[a]["float"]["per_seed"], rungs[b]["float"]["per_seed"]),
         f"{100 * (rungs[a]['params'] / rungs[b]['params'] - 1):+.0f} %",
         f"{100 * (rungs[a]['float']['peak_activation_bytes'] / rungs[b]['float']['peak_activation_bytes'] - 1):+.0f} %"]
        for what, a, b in STEPS if a in rungs and b in rungs
    ]  # fmt: skip
    if "pruned" in rungs:
        last = rungs["pruned"]
        core = last["int8"]["on_core"]
        steps.append([
            "int8, after them", measure.paired(last["int8"]["per_seed"], last["float"]["per_seed"]),
            f"bytes of weights {100 * (last['int8']['weight_bytes']['kept'] / last['int8']['weight_bytes']['float32'] - 1):+.0f} %",
            f"{100 * (core['ram_bytes']['value'] / last['float']['peak_activation_bytes'] - 1):+.0f} %, stack and buffers with it",
        ])  # fmt: skip
    head = [
        "model",
        "parameters",
        "MACs",
        "float, mean of seeds",
        "int8, mean of seeds",
        "int8, generated C, first seed",
    ]
    memory = [
        "model", "weights in float, KB", "flash with int8 weights and program, KB", "float activations at once, KB (modelled)",
        "RAM + stack in int8, KB (emulated)", "instructions in int8 (emulated)",
    ]  # fmt: skip
    return "\n\n".join([
        "Spoken digits of two speakers whom nothing here heard in training (1,000 recordings, three voices to learn from): log-mel in, class out. "
        "The ResNet-8 is trained for 20 epochs, a student of 64 channels for 40, 20 more once it is pruned, and one of 35 channels for 60: part of a "
        f"difference from the ResNet-8 may be its shorter training. The teacher, Google's speech embedding with a head fitted here, is right on {100 * next(iter(rungs.values()))['teacher']:.1f} %.",
        measure.table(head, rows), "## What each takes", measure.table(memory, costs), "## What each step gives",
        "Points of accuracy in float, seeds paired; the interval is over seeds, other speakers would move all of them.",
        measure.table(["step", "points", "parameters", "peak of activations"], steps),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rungs", nargs="*", default=[*RUNGS], choices=[*RUNGS, "page"], metavar="RUNG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    record = measure.kept("mcu_steps")
    part = record.setdefault("", {"figures": {}, "machine": measure.machine()})
    for rung in given.rungs:
        if rung != "page":
            part["figures"][rung] = rung_of(rung, given.seeds, given.threads)
            part["machine"] = measure.machine(f"0 to {given.seeds - 1}")
        measure.write("mcu_steps", "From 1.2 million parameters to a microcontroller", {"": said}, record)


if __name__ == "__main__":
    main()
