"""An artifact over a whole split, and what its outputs are worth. Shapes: N rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.data.dataset import Dataset
from potstill.tasks import TaskSpec, Truth
from potstill.verify.gain import accuracy_interval, drop, independent

_BATCH = 128


def run_split(
    artifact: Callable[[NDArray[Any]], NDArray[Any]],
    num_rows: int,
    inputs: Callable[[NDArray[np.int64]], NDArray[Any]],
    progress: Progress,
) -> NDArray[Any]:
    """Return [N, *Y] outputs, batch by batch; float32 where they are not whole numbers, as tokens are.

    Args:
        artifact: [B, *X] -> [B, *Y].
        num_rows: N.
        inputs: rows [B] -> what the artifact takes.
        progress: where to report.

    Raises:
        PotstillError: a number is NaN or Inf; names the file.
    """
    outputs = []
    with progress.task("verify", num_rows, "rows") as shown:
        for start in range(0, num_rows, _BATCH):
            rows = np.arange(start, min(start + _BATCH, num_rows), dtype=np.int64)
            outputs.append(artifact(inputs(rows)))
            shown.advance(len(rows))
    found = np.concatenate(outputs)
    bad = np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(axis=1))
    if len(bad):
        where = getattr(artifact, "path", "the model")
        raise PotstillError(f"{where}: must give finite numbers; got NaN or Inf in row {bad[0]}, {len(bad)} of {len(found)} rows. Its weights "
                            "are damaged, or numbers outgrow its dtype.")  # fmt: skip
    return found if np.issubdtype(found.dtype, np.integer) else found.astype(np.float32, copy=False)


def headline(task: TaskSpec, dataset: Dataset, outputs_NX: NDArray[Any]) -> dict[str, Any]:
    """Return the headline of test outputs, with its 95 % interval over rows, or over groups of them: "value", "low", "high"."""
    value, low, high = accuracy_interval(_judged(task, dataset, outputs_NX))
    return {"value": value, "low": low, "high": high, "source": "measured"}


def lost(task: TaskSpec, dataset: Dataset, teacher_NX: NDArray[Any], outputs_NX: NDArray[Any]) -> dict[str, Any]:
    """Return the points of the headline that test outputs lose against the teacher's, with a 95 % interval, as `headline` does."""
    return {**drop(*(_judged(task, dataset, o) for o in (teacher_NX, outputs_NX))), "source": "measured"}


def _judged(task: TaskSpec, dataset: Dataset, outputs_NX: NDArray[Any]) -> NDArray[Any]:
    truth = Truth.of(dataset, "test")
    return independent(task.correct(outputs_NX, truth)[None], dataset.splits["test"].groups, truth)
