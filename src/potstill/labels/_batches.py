"""Canonical micro-batches: what makes a teacher's outputs a pure function of (row, view). Shapes: M rows, K values of a
row laid flat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError


def micro_batch_rows(index: int, num_rows: int, size: int) -> tuple[NDArray[np.int64], int]:
    """Return (rows [M], how many of them count): the last micro-batch is padded with its last row."""
    first = index * size
    kept = min(size, num_rows - first)
    return np.minimum(np.arange(first, first + size, dtype=np.int64), num_rows - 1), kept


def validated(
    values: NDArray[Any], rows_M: NDArray[np.int64], view: int, shape: tuple[int, ...], output: str
) -> NDArray[Any]:
    """Return [M, K] float32 values that may be kept, for [M, *shape].

    Raises:
        StoreError: another shape, NaN or Inf, or rows that are no probabilities; names row and view.
    """
    if values.shape[1:] != shape:
        wanted = ", ".join(map(str, ("rows", *shape)))
        raise StoreError(f"labels: the teacher must give [{wanted}]; got {list(values.shape)}.")
    values = np.asarray(values, dtype=np.float32).reshape(len(values), math.prod(shape))
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(rows_M[int(np.flatnonzero(~finite)[0])])
        raise StoreError(
            f"labels: the teacher's outputs must be finite; got NaN or Inf for row {row}, view {view}. It would spread to "
            "every weight of the student. Check the teacher's precision and its input's range."
        )
    if output == "probabilities":
        wrong = (values < -1e-6).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > 1e-3)
        if wrong.any():
            row = int(rows_M[int(np.flatnonzero(wrong)[0])])
            raise StoreError(
                f"labels: probabilities must be >= 0 and sum to 1; got {float(values[wrong][0].sum()):.4g} for row {row}, "
                f"view {view}. Say output: logits if the teacher gives logits."
            )
    return values
