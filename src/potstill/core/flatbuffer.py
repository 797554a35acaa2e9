"""A FlatBuffer read by the numbers of its fields: nothing is generated, and an offset that leads nowhere is an IndexError."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def root(data: bytes) -> Table:
    """Return the table that a file opens with. Raises struct.error or IndexError of one that is damaged."""
    return Table(data, struct.unpack_from("<I", data, 0)[0])


class Table:
    """A table of a FlatBuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        from flatbuffers.table import Table as Reader

        if not 0 < at < len(data):
            raise IndexError(f"table at {at}")
        self._table, self._data = Reader(data, at), data

    def number(self, field: int, kind: str) -> int:
        """Return a whole number, 0 where it is not there; `kind` as in struct."""
        return int(self._scalar(field, kind))

    def real(self, field: int) -> float:
        """Return a float32, 0 where it is not there."""
        return float(self._scalar(field, "f"))

    def numbers(self, field: int) -> list[int]:
        """Return a list of int32."""
        start, length = self._list(field)
        return list(struct.unpack_from(f"<{length}i", self._data, start))

    def array(self, field: int, dtype: str) -> NDArray[Any]:
        """Return a copy of a list of numbers, empty where it is not there; `dtype` as in NumPy, little-endian."""
        start, length = self._list(field)
        return np.frombuffer(self._data, np.dtype(dtype), length, start).copy() if length else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        """Return a string, empty where it is not there."""
        start, length = self._list(field)
        return self._data[start : start + length].decode(errors="replace")

    def table(self, field: int) -> Table | None:
        """Return a table, None where it is not there."""
        offset = self._table.Offset(4 + 2 * field)
        return Table(self._data, self._table.Indirect(self._table.Pos + offset)) if offset else None

    def tables(self, field: int) -> Iterator[Table]:
        """Yield a list of tables."""
        start, length = self._list(field)
        for place in range(length):
            at = start + 4 * place
            yield Table(self._data, at + int(struct.unpack_from("<I", self._data, at)[0]))

    def length(self, field: int) -> int:
        """Return the length of a list, 0 where it is not there."""
        return self._list(field)[1]

    def _scalar(self, field: int, kind: str) -> float:
        offset = self._table.Offset(4 + 2 * field)
        found: float = struct.unpack_from(f"<{kind}", self._data, self._table.Pos + offset)[0] if offset else 0
        return found

    def _list(self, field: int) -> tuple[int, int]:
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return 0, 0
        start, length = int(self._table.Vector(offset)), int(self._table.VectorLen(offset))
        if not 0 <= start + length <= len(self._data):
            raise IndexError(f"list of {length} at {start}")
        return start, length
