"""Rows of text as chunks of a source. Shapes: n rows, L bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError
from potstill.data._base import Chunk

_CHUNK = 2048


class Row(NamedTuple):
    """One text of a source."""

    name: str
    """Of its file and line, for errors."""
    text: str
    label: int
    """-1 where it has none."""
    group: int | None = None
    classes: list[int] | None = None
    """Where a row may have several classes: those that it has; None where its label says it all."""


def encoded(text: object, name: str) -> bytes:
    """Return a text's UTF-8 bytes, without space around it.

    Raises:
        DataError: it is no text, empty, or has a character that a stored text cannot have; names the row.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        raise DataError(f"{name}: text must not be empty; got {text!r}. Drop the row.")
    if not isinstance(text, str):
        raise DataError(f"{name}: text must be a string; got {type(text).__name__} {text!r}. Name another column.")
    if "\0" in text:
        raise DataError(f"{name}: text must not hold the character U+0000, with which a stored text ends. Take it out.")
    try:
        return text.strip().encode("utf-8")
    except UnicodeEncodeError as err:
        raise DataError(f"{name}: text must be valid Unicode; got {err.reason} at character {err.start}.") from err


def cut(data: bytes, most: int) -> bytes:
    """Return at most `most` bytes, cut before a character rather than within it."""
    return data if len(data) <= most else data[:most].decode("utf-8", "ignore").encode("utf-8")


def chunks_of(
    rows: Callable[[], Iterable[Row]], length: int, num_flags: int | None = None
) -> Callable[[], Iterator[Chunk]]:
    """Return a reader of chunks; texts longer than `length` bytes are cut. Rows of several classes have `num_flags` targets.

    Raises:
        DataError: when read, a text is empty or not a text.
    """

    def chunks() -> Iterator[Chunk]:
        kept: list[Row] = []
        for row in rows():
            kept.append(row)
            if len(kept) == _CHUNK:
                yield _chunk(kept, length, num_flags)
                kept = []
        if kept:
            yield _chunk(kept, length, num_flags)

    return chunks


def _chunk(rows: list[Row], length: int, num_flags: int | None) -> Chunk:
    samples: NDArray[np.uint8] = np.zeros((len(rows), length), np.uint8)
    for sample, row in zip(samples, rows, strict=True):
        data = cut(encoded(row.text, row.name), length)
        if not data:
            raise DataError(f"{row.name}: must have a character within {length} bytes; got none. Raise data.max_bytes.")
        sample[: len(data)] = np.frombuffer(data, np.uint8)
    groups = None if rows[0].group is None else np.array([row.group for row in rows], np.int64)
    labels = np.array([row.label for row in rows], np.int64)
    targets = None
    if num_flags is not None:
        targets = np.zeros((len(rows), num_flags), np.float32)
        for row, flags in zip(rows, targets, strict=True):
            flags[row.classes] = 1
    return Chunk(samples, labels, [row.name for row in rows], targets=targets, groups=groups)
