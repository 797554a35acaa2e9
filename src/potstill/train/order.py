"""Which rows each optimiser step reads: a pure function of (seed, step). Shapes: B rows of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng


def steps_per_pass(num_rows: int, batch_size: int, world_size: int = 1) -> int:
    """Return the optimiser steps of one pass. A short last batch counts, unless it has less than two rows for each process,
    of which BatchNorm has no statistics: these join the batch before."""
    full, rest = divmod(num_rows, batch_size)
    return max(1, full + (rest >= 2 * world_size))


class Order:
    """Passes over `rows` in a new order each time; every row once a pass, in the batches of `steps_per_pass`.

    Args:
        rows: positions in the training split that this training may visit; a number means as many, from the first on.
        batch_size: rows a step, over all processes.
        seed: of the order.
        world_size: processes that share each batch.
        labels_N: of `rows`, -1 for none; then every class is as frequent in a pass of as many rows. None: every row once.
    """

    def __init__(
        self, rows: NDArray[np.int64] | int, batch_size: int, seed: int, world_size: int = 1,
        labels_N: NDArray[Any] | None = None,
    ) -> None:  # fmt: skip
        self._rows = None if isinstance(rows, int) else rows
        self._num = rows if isinstance(rows, int) else len(rows)
        self._batch_size = batch_size
        self._seed = rng.seed_of(seed, "order")
        self._classes = None if labels_N is None else _by_class(labels_N)
        self.steps_per_pass = steps_per_pass(self._num, batch_size, world_size)
        self._pass = -1
        self._shuffled: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def _balanced(self, number: int) -> NDArray[np.int64]:
        """Return [N] positions in `rows`, each class in equal number; within a class every row as often as any, give or take
        one, those that come once more drawn anew each pass."""
        assert self._classes is not None
        unlabelled, classes = self._classes
        quota, more = divmod(self._num - len(unlabelled), max(len(classes), 1))
        favoured = rng.permutation(self._seed, -1 - number, len(classes))[:more]  # classes that get the rows left over
        parts = [unlabelled]
        for k, rows in enumerate(classes):
            num = quota + (k in favoured)
            whole, rest = divmod(num, len(rows))
            extra = rng.permutation(rng.seed_of(self._seed, "balanced", k), number, len(rows))[:rest]
            parts += [np.tile(rows, whole), rows[extra]]
        return np.concatenate(parts)

    def at(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Return (pass number, rows [B] int64) of a step."""
        number, index = divmod(step, self.steps_per_pass)
        if number != self._pass:
            self._shuffled = self._shuffled[:0].copy()  # the old order is let go first: 8 bytes a row
            order = rng.permutation(self._seed, number, self._num)
            if self._classes is not None:
                order = self._balanced(number)[order]
            if self._rows is not None:
                self._rows.take(order, out=order, mode="clip")  # in its own place: 8 bytes a row less
            self._shuffled = order
            self._pass = number
        stop = None if index == self.steps_per_pass - 1 else (index + 1) * self._batch_size
        return number, self._shuffled[index * self._batch_size : stop]


def _by_class(labels_N: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return (positions without a label, those of each class that occurs)."""
    present = np.unique(labels_N[labels_N >= 0])
    return np.flatnonzero(labels_N < 0).astype(np.int64), [
        np.flatnonzero(labels_N == k).astype(np.int64) for k in present
    ]
