"""An artifact over a whole split. Shapes: N rows, K classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.progress import Progress

_BATCH = 128


def run_split(
    artifact: Callable[[NDArray[Any]], NDArray[Any]],
    num_rows: int,
    inputs: Callable[[NDArray[np.int64]], NDArray[Any]],
    progress: Progress,
) -> NDArray[Any]:
    """Return [N, K] float32 outputs, batch by batch.

    Args:
        artifact: [B, C, H, W] -> [B, K].
        num_rows: N.
        inputs: rows [B] -> what the artifact takes.
        progress: where to report.
    """
    outputs = []
    with progress.task("verify", num_rows, "rows") as shown:
        for start in range(0, num_rows, _BATCH):
            rows = np.arange(start, min(start + _BATCH, num_rows), dtype=np.int64)
            outputs.append(artifact(inputs(rows)))
            shown.advance(len(rows))
    return np.concatenate(outputs).astype(np.float32, copy=False)
