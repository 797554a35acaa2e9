"""Instructions of generated C from its graph alone: no compiler, no emulator. Counts of each call (products, results, bytes gathered)
times what each costs on a Cortex-M4, fitted to random layers on the emulated core; `benchmarks/mcu.py` fits and judges it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.mcu.code import Call, Program

COSTS = Path(__file__).parent / "instructions_m4.json"
"""{kernel: {count: instructions of each}}; `call` is what a call costs whatever it does."""
MOST_OFF = 0.04
"""Largest relative error of a modelled count, of the networks that docs/results/mcu.md judges it by."""
_UNCOUNTED = frozenset({"taps"})
_PRODUCTS, _PLACES = frozenset({"mac", "rest", "slow"}), frozenset({"call", "gather", "pixel", "row", "tap"})
"""Counts of multiply-accumulates, and those that are the same however many channels there are."""


def modelled(program: Program) -> int | None:
    """Return the instructions of one inference on a Cortex-M4 with the DSP extension, built by gcc -O2; None where a kernel was never
    fitted."""
    return None if unfitted(program) else round(sum(shares(program)))


def unfitted(program: Program) -> list[str]:
    """Return the kernels that a program calls and whose costs were never fitted."""
    return sorted({call.kernel for call in program.calls} - set(_costs()))


def shares(program: Program) -> tuple[float, float, float]:
    """Return (instructions of multiply-accumulates, of values, of places) of a program whose kernels were all fitted: these grow with the
    products, with the activations, and with neither where only channels are more."""
    costs, found = _costs(), [0.0, 0.0, 0.0]
    for call in program.calls:
        for name, n in features(call).items():
            found[0 if name in _PRODUCTS else 2 if name in _PLACES else 1] += costs[call.kernel].get(name, 0.0) * n
    return found[0], found[1], found[2]


def features(call: Call) -> dict[str, int]:
    """Return what a call's instructions are modelled from."""
    return {"call": 1, **{k: int(n) for k, n in call.counts.items() if k not in _UNCOUNTED}}


def fitted(calls: list[tuple[Call, int]]) -> dict[str, dict[str, float]]:
    """Return costs, none below 0, that leave the least relative error over calls and their instructions.

    Args:
        calls: with the instructions that each took, 1 or more.
    """
    from scipy.optimize import nnls

    out = {}
    for kernel in sorted({call.kernel for call, _ in calls}):
        rows = [(features(call), took) for call, took in calls if call.kernel == kernel]
        names = sorted({name for row, _ in rows for name in row})
        counts: NDArray[np.float64] = np.array([[row.get(name, 0) for name in names] for row, _ in rows], np.float64)
        took = np.array([n for _, n in rows], np.float64)
        weights = 1 / np.maximum(took, 500.0)
        found, _ = nnls(counts * weights[:, None], took * weights)
        out[kernel] = {name: round(float(cost), 3) for name, cost in zip(names, found, strict=True) if cost > 0}
    return out


@cache
def _costs() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = atomic.read_json(COSTS)
    return found
