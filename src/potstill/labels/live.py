"""A teacher that runs while the student trains: the same micro-batches, through the same codec, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.outputs import TeacherOutput
from potstill.labels._batches import micro_batch_rows, validated
from potstill.labels.codecs import CodecSpec


class LiveStore:
    """Reads like a LabelStore; evaluates canonical, padded micro-batches on demand and keeps those of one view.

    Args:
        label: (rows [M], view) -> [M, K] float32, as for the writer.
        num_rows: rows of the training split.
        width: K, or H * V of values.
        views: augmented versions of each row.
        codec: what the rows are passed through.
        output: what the teacher gives.
        micro_batch: M.
    """

    def __init__(
        self,
        label: Callable[[NDArray[np.int64], int], NDArray[Any]],
        *,
        num_rows: int,
        width: int,
        views: int,
        codec: CodecSpec,
        output: TeacherOutput,
        micro_batch: int,
    ) -> None:
        self._label, self._micro_batch = label, micro_batch
        self.num_rows, self.width, self.views = num_rows, width, views
        self.codec, self.output = codec, output
        self._view = -1
        self._have = np.zeros(-(-num_rows // micro_batch), dtype=bool)
        self._fields = {
            name: np.empty((num_rows, *shape), dtype) for name, (dtype, shape) in codec.layout(width).items()
        }

    def read(self, view: int, rows_B: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the codec's fields for rows of one view, running the teacher where needed."""
        if not 0 <= view < self.views:
            raise IndexError(f"store has {self.views} views; asked for view {view}")
        if view != self._view:
            self._view = view
            self._have[:] = False
        for index in np.unique(np.asarray(rows_B) // self._micro_batch):
            if not self._have[index]:
                self._fill(int(index))
        return {name: array[rows_B] for name, array in self._fields.items()}

    def values(
        self, view: int, rows_B: NDArray[np.int64], temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        """Return [B, K] float32 raw teacher outputs; `temperature` matters to sparse codecs only."""
        return self.codec.decode(self.read(view, rows_B), self.width, temperature, standardized)

    def _fill(self, index: int) -> None:
        rows_M, kept = micro_batch_rows(index, self.num_rows, self._micro_batch)
        values = validated(self._label(rows_M, self._view)[:kept], rows_M, self._view, (self.width,), self.output)
        for name, array in self.codec.encode(values).items():
            self._fields[name][rows_M[:kept]] = array
        self._have[index] = True
