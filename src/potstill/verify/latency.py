"""Latency by turns: on a noisy machine a ratio holds only if both sides see the same noise."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic

_BLOCK_S = 0.02
_RESAMPLES = 2000
PARTS = ("read", "preprocess", "infer", "postprocess")
"""Of one sample's way: from the memory-mapped row, what the host does before, the artifact, the task's decision."""


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    blocks: int,
    lock: Path,
    warmup: int = 20,
    per_call: int = 1,
) -> dict[str, Any]:
    """Time callables in alternating blocks, one process on the machine at a time.

    Args:
        candidates: name -> what is timed; the order turns around every other block.
        blocks: how many of each.
        lock: file under which only one process measures.
        warmup: calls of each before anything counts.
        per_call: samples that a call runs one by one; times are of one, a mean over them.

    Returns:
        name -> {"min", "median", "p95"} in milliseconds, "calls", "interval" {"value", "low", "high"}: the median of the blocks' medians
        in milliseconds with a bootstrap 95 % interval, and "ratio": its median over that of the teacher, where there is a
        candidate of that name, by blocks, with a bootstrap 95 % interval; "ratio_float" likewise over one of the name "float".
    """
    with atomic.locked(lock):
        per_block = {name: calls_for(call, warmup) for name, call in candidates.items()}
        times: dict[str, list[NDArray[Any]]] = {name: [] for name in candidates}
        enabled = gc.isenabled()
        gc.disable()
        try:
            for block in range(blocks):
                names = list(candidates) if block % 2 == 0 else list(candidates)[::-1]
                for name in names:
                    times[name].append(calls_of(candidates[name], per_block[name]))
        finally:
            if enabled:
                gc.enable()
    out: dict[str, Any] = {}
    for name, found in times.items():
        out[name] = spread(np.concatenate(found) / per_call)
    medians = {name: [float(np.median(block)) / per_call for block in found] for name, found in times.items()}
    for name, seconds in medians.items():
        out[name]["interval"] = ratio(seconds, [1e-3] * blocks)
    for other, key in (("teacher", "ratio"), ("float", "ratio_float")):
        for name in out if other in out else ():
            if name not in ("teacher", "float"):
                out[name][key] = ratio(medians[name], medians[other])
    return out


def spread(seconds_N: NDArray[Any]) -> dict[str, Any]:
    """Return {"min", "median", "p95"} in milliseconds, and "calls", N."""
    ms = seconds_N * 1e3
    return {
        "min": float(ms.min()),
        "median": float(np.median(ms)),
        "p95": float(np.percentile(ms, 95)),
        "calls": len(ms),
    }


def calling(artifact: Any, inputs_BX: NDArray[Any]) -> Callable[[], object]:
    """Return what runs an artifact on a sample; one in a process of its own is timed there."""
    if hasattr(artifact, "times"):
        return _Elsewhere(artifact, inputs_BX)
    return lambda: artifact(inputs_BX)


class _Elsewhere:
    """A call that can say how long it took where it ran."""

    def __init__(self, artifact: Any, inputs_BX: NDArray[Any]) -> None:
        self.artifact, self.inputs = artifact, inputs_BX

    def __call__(self) -> object:
        """Run it once."""
        return self.artifact(self.inputs)

    def times(self, num: int) -> NDArray[np.float64]:
        """Return the seconds of `num` calls."""
        found: NDArray[np.float64] = self.artifact.times(self.inputs, num)
        return found


def calls_for(call: Callable[[], object], warmup: int) -> int:
    """Warm up, and return how many calls fill a block of about 20 ms."""
    started = time.perf_counter()
    for i in range(warmup):
        call()
        if time.perf_counter() - started > 1.0 and i >= 2:
            break
    single = calls_of(call, 3).min()
    return int(np.clip(_BLOCK_S / max(single, 1e-7), 3, 500))


def calls_of(call: Callable[[], object], num: int) -> NDArray[Any]:
    """Return the seconds of `num` calls."""
    if isinstance(call, _Elsewhere):
        return call.times(num)
    out = np.empty(num)
    for i in range(num):
        started = time.perf_counter()
        call()
        out[i] = time.perf_counter() - started
    return out


def ratio(student: list[float], teacher: list[float]) -> dict[str, float]:
    """Return the median of the blocks' ratios with a percentile bootstrap over blocks (fixed seed)."""
    ratios = np.array(student) / np.array(teacher)
    draws = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    medians = np.median(ratios[draws], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return {"value": float(np.median(ratios)), "low": float(low), "high": float(high)}
