"""RAM and flash that a runtime takes on a microcontroller, from published rows; elsewhere only what the model alone takes.

memory.csv holds peak SRAM and flash of models under named runtimes (TinyEngine's README, STMicroelectronics' model zoo), and, where the
model's architecture is published, the bytes that live at once in it. The runtime decides: one model took 163, 88 and 59 kB.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from potstill.devices.cost import INT8, Cost

FILE = Path(__file__).parent / "memory.csv"
LEAST_MODELS = 5
"""Models that a model of memory needs: three more than its two coefficients."""
OS_SHARE = 0.1
"""On a device with an operating system, share of the RAM up to which weights and live activations are said to fit. What the system and
the runtime take is not known, so beyond it nothing is said until the model alone is larger than the RAM."""


@dataclass(frozen=True)
class MemoryRow:
    """What a runtime took for a model."""

    model: str
    runtime: str
    versions: tuple[str, ...]
    """Of the runtime; empty: as it is, whatever version."""
    live_bytes: float | None
    weight_bytes: float | None
    sram_bytes: float | None
    """None where it did not fit the board."""
    flash_bytes: float | None


@dataclass(frozen=True)
class Bytes:
    """Bytes as modelled, or why there are none."""

    low: float | None
    high: float | None
    reason: str = ""
    """Why it is unknown, or what it rests on."""


@functools.cache
def memory_rows() -> tuple[MemoryRow, ...]:
    """Return every row."""
    with FILE.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))

    def number(text: str) -> float | None:
        return float(text) if text else None

    return tuple(
        MemoryRow(r["model"], r["runtime"], tuple(filter(None, r["versions"].split(";"))), number(r["live_bytes"]),
                  number(r["weight_bytes"]), number(r["sram_bytes"]), number(r["flash_bytes"]))
        for r in records
    )  # fmt: skip


def _of(runtime: str, version: str) -> list[MemoryRow]:
    return [r for r in memory_rows() if r.runtime == runtime and (not r.versions or version in r.versions)]


def ram(cost: Cost, runtime: str, version: str) -> Bytes:
    """Return the SRAM that a runtime would take for an int8 model: what lives at once times a factor, plus its own; fitted to its rows,
    with the largest error of the models held out as interval."""
    there = _of(runtime, version)
    used = [(r.live_bytes, r.sram_bytes) for r in there if r.live_bytes is not None and r.sram_bytes is not None]
    if cost.dtype != INT8:
        return Bytes(None, None, f"published SRAM is of int8 models, this one is {cost.dtype}")
    if len(used) < LEAST_MODELS:
        why = "published models of known architecture are too few" if there else "not published"
        return Bytes(None, None, f"{why} for {f'{runtime} {version}'.strip()}")
    made, worst = _line(tuple(used))
    value = made[0] + made[1] * cost.peak_activation_bytes
    text = f"{len(used)} published models, held out off by at most {100 * (worst - 1):.0f} %"
    return Bytes(value / worst, value * worst, text)


@functools.lru_cache(maxsize=32)
def _line(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], float]:
    """Return (offset, slope), non-negative, and the largest factor by which a point held out was missed."""
    x, y = np.array(points).T
    worst = 1.0
    for left in range(len(x)):
        keep = np.arange(len(x)) != left
        offset, slope = _solved(x[keep], y[keep])
        ratio = (offset + slope * x[left]) / y[left]
        worst = max(worst, ratio, 1 / ratio)
    return _solved(x, y), float(worst)


def _solved(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.optimize import nnls

    found = nnls(np.column_stack([np.ones_like(x), x]) / y[:, None], np.ones(len(y)))[0]
    return float(found[0]), float(found[1])


def flash(cost: Cost, runtime: str, version: str) -> Bytes:
    """Return the flash that a runtime would take: the weights, and from the least to the most code that it had beside those of its rows."""
    code = [
        r.flash_bytes - r.weight_bytes
        for r in _of(runtime, version)
        if r.flash_bytes is not None and r.weight_bytes is not None
    ]
    if len(code) < LEAST_MODELS:
        return Bytes(cost.weight_bytes, None, "the weights; how much code comes on top is not published")
    text = f"the weights, and {min(code) / 1e3:.0f} to {max(code) / 1e3:.0f} kB of code as beside {len(code)} published models"
    return Bytes(cost.weight_bytes + max(0.0, min(code)), cost.weight_bytes + max(code), text)


@functools.cache
def most_saved() -> float:
    """Return how many times less SRAM the most sparing runtime took than the least sparing one, at most, for one and the same model."""
    by_model: dict[str, list[float]] = {}
    for row in memory_rows():
        if row.sram_bytes is not None:
            by_model.setdefault(row.model, []).append(row.sram_bytes)
    return max(_spread(values) for values in by_model.values())


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values)
