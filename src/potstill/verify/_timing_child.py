"""Times models in a process of its own, from the row on disk to the answer. Shapes: B rows, X the shape of one input, Y of one output.

Run as: python -m potstill.verify._timing_child; reads a job as JSON and prints one JSON line. See `verify.timing`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.verify.energy import Rapl
from potstill.verify.latency import PARTS, calls_for, ratio, spread

_Array = NDArray[Any]
_ENOUGH = 5
"""Seconds at each end of a long run of which an interval is given."""


@dataclass
class Way:
    """A model and what stands around it; each call takes the next row all the way."""

    read: Callable[[int], _Array]
    """Row -> [1, *X] as the data gives it."""
    prepare: Callable[[_Array], _Array]
    infer: Callable[[_Array], _Array]
    decide: Callable[[_Array], object]
    rows: list[int]
    taken: list[tuple[float, ...]] = field(default_factory=list)
    """Seconds of each part of each call."""
    _next: int = 0

    def __call__(self) -> None:
        """Go once, and keep how long each part took."""
        row = self.rows[self._next]
        self._next = (self._next + 1) % len(self.rows)
        a = time.perf_counter()
        inputs = self.read(row)
        b = time.perf_counter()
        ready = self.prepare(inputs)
        c = time.perf_counter()
        outputs = self.infer(ready)
        d = time.perf_counter()
        self.decide(outputs)
        self.taken.append((b - a, c - b, d - c, time.perf_counter() - d))


@dataclass
class Taken:
    """What blocks of one candidate took."""

    medians: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Of each call."""
    wall: float = 0.0
    cpu: float = 0.0
    """Of all threads of this process."""
    joules: float = 0.0

    def figures(self, meter: Rapl) -> dict[str, Any]:
        """Return JSON values."""
        num = len(self.seconds)
        mj = 1e3 * self.joules / num
        energy: dict[str, Any] = {"value": mj, "source": "measured"} if meter else {"value": None, "source": "unknown"}
        return {
            **spread(np.array(self.seconds)),
            "cpu_ms": 1e3 * self.cpu / num,
            "cpu_per_wall": self.cpu / self.wall,
            "energy_mj": energy,
        }


def by_turns(calls: Mapping[str, Callable[[], object]], blocks: int, meter: Rapl) -> dict[str, Taken]:
    """Run callables in alternating blocks of about 20 ms each, the collector resting."""
    per_block = {name: calls_for(call, 20) for name, call in calls.items()}
    for call in calls.values():
        if isinstance(call, Way):
            call.taken.clear()
    out = {name: Taken() for name in calls}
    for block in range(blocks):
        for name in list(calls) if block % 2 == 0 else list(calls)[::-1]:
            _block(calls[name], per_block[name], out[name], meter)
    return out


def _block(call: Callable[[], object], num: int, taken: Taken, meter: Rapl) -> None:
    seconds = []
    before = meter.read()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(num):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    taken.cpu += time.process_time() - cpu
    taken.wall += time.perf_counter() - wall
    taken.joules += meter.joules(before, meter.read())
    taken.seconds += seconds
    taken.medians.append(statistics.median(seconds))


def end_to_end(ways: Mapping[str, Way], blocks: int, meter: Rapl) -> dict[str, Any]:
    """Return each model's time by parts, and the student's over the teacher's where that is there."""
    taken = by_turns(ways, blocks, meter)
    out: dict[str, Any] = {}
    for name, way in ways.items():
        seconds = np.array(way.taken)
        parts = {part: spread(seconds[:, i]) for i, part in enumerate(PARTS)}
        out[name] = {**taken[name].figures(meter), **spread(seconds.sum(axis=1)), "parts": parts}
    if "teacher" in out:
        out["student"]["ratio"] = ratio(taken["student"].medians, taken["teacher"].medians)
    return out


def sustained(way: Way, seconds: float) -> dict[str, Any]:
    """Run without a pause; return the median of each second, and the last ten against the first ten (or halves, if it is shorter)."""
    medians: list[float] = []
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < began + seconds:
        way.taken.clear()
        while time.perf_counter() < min(now + 1, began + seconds):
            way()
        if way.taken:
            calls += len(way.taken)
            medians.append(1e3 * statistics.median(sum(parts) for parts in way.taken))
    wall = time.perf_counter() - began
    window = max(1, min(10, len(medians) // 2))
    first, last = np.array(medians[:window]), np.array(medians[-window:])
    bounds: tuple[float | None, ...] = (None, None)
    draws = np.random.default_rng(0).integers(0, window, (2, 2000, window))
    spun = np.median(last[draws[0]], axis=1) / np.median(first[draws[1]], axis=1)
    if window >= _ENOUGH:
        bounds = tuple(float(v) for v in np.percentile(spun, [2.5, 97.5]))
    return {
        "seconds": wall, "window_s": window, "calls": calls, "first_ms": float(np.median(first)), "last_ms": float(np.median(last)),
        "slower": {"value": float(np.median(last) / np.median(first)), "low": bounds[0], "high": bounds[1]},
        "cpu_per_wall": (time.process_time() - cpu) / wall, "per_second_ms": medians,
    }  # fmt: skip


def _decision(output: str, judged: Callable[[_Array], _Array]) -> Callable[[_Array], object]:
    """Return what a task makes of a model's outputs: the class, the flags, the text; values are an answer as they are."""
    if output == "classes":
        return lambda outputs: outputs.argmax(axis=1)
    return (lambda outputs: outputs > 0) if output == "flags" else judged


def _opened(runtime: str, path: Path, threads: int) -> Callable[[_Array], _Array]:
    session: Any = importlib.import_module(runtime).opened(path, threads)
    return lambda inputs: session(np.ascontiguousarray(inputs, session.input_dtype))


def _ways(job: Mapping[str, Any], dataset: Any) -> dict[str, Way]:
    from potstill.data.augment import make_batch
    from potstill.verify.foreign import saved_input

    test = dataset.splits["test"]

    def read(row: int) -> _Array:
        inputs: _Array = make_batch(test, np.array([row], np.int64), 0, (), 0, reveal=True).inputs_BX.numpy()
        return inputs

    def way(preprocess: Any, infer: Callable[[_Array], _Array]) -> Way:
        return Way(read, preprocess.outside_numpy, infer, _decision(job["output"], preprocess.judged), job["rows"])

    student = job["student"]
    infer = _opened(student["runtime"], Path(student["path"]), job["threads"])
    ways = {"student": way(saved_input(Path(student["folder"]) / "student.json", dataset), infer)}
    if job["teacher"] is not None:
        ways["teacher"] = _teacher(job, dataset, read, way)
    return ways


def _teacher(job: Mapping[str, Any], dataset: Any, read: Callable[[int], _Array], way: Callable[..., Way]) -> Way:
    """Return the teacher from its artifact; where it has none, as it runs here, and then what it does to a sample is part of `infer`."""
    from pydantic import TypeAdapter

    from potstill.models import io_of
    from potstill.teachers import TeacherSpec, registry

    given = job["teacher"]
    spec: TeacherSpec = TypeAdapter(registry.union()).validate_python(given["spec"])
    io = io_of(dataset.kind, dataset.shape, dataset.target_shape or (len(dataset.classes),), dataset.rate_hz)
    labeller: Any = spec.load(Path(given["folder"]), io, dataset.stats)
    if given["path"] is not None:
        return way(labeller.preprocess, _opened(given["runtime"], Path(given["path"]), job["threads"]))
    return Way(read, lambda inputs: inputs, labeller, _decision(job["output"], lambda outputs: outputs), job["rows"])


def measured(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything; one process on the machine measures at a time."""
    import torch

    from potstill.data.dataset import Dataset

    torch.set_num_threads(job["threads"])
    dataset, meter = Dataset.open(Path(job["data"])), Rapl(Path(job["powercap"]))
    ways = _ways(job, dataset)
    student = ways["student"]
    inputs = [student.prepare(student.read(row)) for row in student.rows]
    sessions = {
        str(n): _opened(job["student"]["runtime"], Path(job["student"]["path"]), n) for n in job["thread_counts"]
    }

    def through(infer: Callable[[_Array], _Array]) -> Callable[[], object]:
        turn = iter(range(sys.maxsize))
        return lambda: infer(inputs[next(turn) % len(inputs)])

    with atomic.locked(Path(job["lock"])), torch.inference_mode():
        gc.collect()
        gc.disable()
        found: dict[str, Any] = {"models": end_to_end(ways, job["blocks"], meter)}
        taken = by_turns({n: through(infer) for n, infer in sessions.items()}, job["blocks"], meter)
        found["threads"] = [{"threads": int(n), **t.figures(meter)} for n, t in taken.items()]
        found["sustained"] = sustained(student, job["sustained_s"]) if job["sustained_s"] else None
    return found


def main() -> None:
    """Measure."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes talk on stdout
    print(json.dumps(measured(json.load(sys.stdin))), file=answer, flush=True)
    os.dup2(answer.fileno(), 1)


if __name__ == "__main__":
    main()
