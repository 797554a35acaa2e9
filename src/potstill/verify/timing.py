"""Latency from the row on disk to the answer by its parts, more threads, a long run and a cold start, in processes of their own."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.child import answer_of
from potstill.verify import _timing_child
from potstill.verify.energy import POWERCAP
from potstill.verify.memory import in_a_fresh_process

_LONGEST_S = 600.0
"""Seconds after which a child counts as hung, beyond what it was asked to run."""
_STARTS = ("runtime", "load", "first")


@dataclass(frozen=True)
class TimedTeacher:
    """The teacher that is timed beside the student."""

    spec: Mapping[str, Any]
    """Its section, JSON values."""
    folder: Path
    """What its `prepare` left."""
    runtime: str | None
    """Module that opens its artifact; None where it has none."""
    path: Path | None
    """Of its artifact."""


def end_to_end(
    *, data: Path, output: str, student: Path, runtime: str, path: Path, teacher: TimedTeacher | None, rows: Sequence[int],
    threads: int, thread_counts: Sequence[int], blocks: int, sustained_s: float, lock: Path, powercap: Path = POWERCAP,
) -> dict[str, Any]:  # fmt: skip
    """Return what a child process measured, under the lock.

    Args:
        data: the prepared data.
        output: what the task asks for; its decision is the last part.
        student: folder of student.json, which says what stands before the model.
        runtime: module that opens the artifact.
        path: of the artifact.
        teacher: timed by turns with the student; None leaves it out.
        rows: of the test split, read one after another.
        threads: of the runtime, from the row to the answer.
        thread_counts: in which the artifact alone is timed too.
        blocks: of about 20 ms, of each.
        sustained_s: seconds that the student runs without a pause; 0: it does not.
        lock: file under which only one process measures.
        powercap: folder of the energy counters.

    Returns:
        `models`: "student" and perhaps "teacher" -> {"min", "median", "p95"} in ms, "calls", "parts" (`PARTS`, each likewise),
        "cpu_ms" of a sample, of all threads, "cpu_per_wall" (cores kept busy), "energy_mj" of a sample (of all packages, whatever ran on them; unknown without counters), and of
        the student "ratio" over the teacher, by blocks. `threads`: the same of the artifact alone for each count. `sustained`: median of each
        second, the first and the last ten, the last over the first.

    Raises:
        PotstillError: the child fails, crashes or hangs.
    """
    job = {
        "data": str(data), "output": output, "rows": [int(r) for r in rows], "threads": threads, "thread_counts": list(thread_counts),
        "blocks": blocks, "sustained_s": sustained_s, "lock": str(lock), "powercap": str(powercap),
        "student": {"folder": str(student), "runtime": runtime, "path": str(path)},
        "teacher": None if teacher is None else json.loads(json.dumps(asdict(teacher), default=str)),
    }  # fmt: skip
    found: dict[str, Any] = answer_of(_timing_child.__name__, [], path, _LONGEST_S + sustained_s, json.dumps(job))
    return found


def cold_start(
    runtime: str, path: Path, example_BX: NDArray[Any], threads: int, starts: int, lock: Path
) -> dict[str, Any]:
    """Return the ms from a started Python to the first answer: medians of `runtime` (its packages), `load` (the file) and `first` (one
    inference), `total` and its least and most. The files lie in the page cache: a first start after a boot takes longer.

    Args:
        runtime: module that opens the file.
        path: of the model.
        example_BX: gives the shape of a sample.
        threads: of the runtime.
        starts: fresh processes.
        lock: file under which only one process measures.
    """
    with atomic.locked(lock):
        found = [in_a_fresh_process(runtime, path, example_BX, threads)["ms"] for _ in range(starts)]
    totals = [sum(one[part] for part in _STARTS) for one in found]
    medians = {f"{part}_ms": statistics.median(one[part] for one in found) for part in _STARTS}
    return {
        **medians,
        "total_ms": statistics.median(totals),
        "min_ms": min(totals),
        "max_ms": max(totals),
        "starts": starts,
        "source": "measured",
    }
