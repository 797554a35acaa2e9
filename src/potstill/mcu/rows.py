"""Rows of inputs and outputs as bytes, as generated programs and oracles take and give them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import EmulationError, ShapeError
from potstill.core.runtimes._base import codes_of
from potstill.mcu.model import Model


def packed(rows: Sequence[Sequence[NDArray[Any]]]) -> bytes:
    """Return all inputs of each row, one after the other."""
    return b"".join(np.ascontiguousarray(a).tobytes() for row in rows for a in row)


def unpacked(raw: bytes, ends: Sequence[tuple[Sequence[int], str]], num: int, name: str) -> list[list[NDArray[Any]]]:
    """Return `num` rows of outputs of these shapes and types. Raises EmulationError where the bytes are not as many."""
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in ends]
    if len(raw) != num * sum(sizes):
        raise EmulationError(f"{name}: must answer {num} rows of {sum(sizes)} bytes; got {len(raw)} bytes.")
    rows, at = [], 0
    for _ in range(num):
        row = []
        for (shape, dtype), size in zip(ends, sizes, strict=True):
            row.append(np.frombuffer(raw, dtype, math.prod(shape), at).reshape(tuple(shape)))
            at += size
        rows.append(row)
    return rows


def num_different(found: Sequence[Sequence[NDArray[Any]]], wanted: Sequence[Sequence[NDArray[Any]]]) -> tuple[int, int]:
    """Return (rows with a value that is not the same to the last bit, such values)."""
    rows = values = 0
    for ours, theirs in zip(found, wanted, strict=True):
        here = sum(int(np.sum(_bits(a) != _bits(b))) for a, b in zip(ours, theirs, strict=True))
        rows, values = rows + (here > 0), values + here
    return rows, values


def _bits(a: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}")


def as_inputs(model: Model, samples_NX: NDArray[Any]) -> list[list[NDArray[Any]]]:
    """Return samples as rows of a model with one input: codes where it reads codes.

    Raises:
        ShapeError: it has several inputs, or takes another shape.
    """
    ends = [model.tensors[i] for i in model.inputs]
    if len(ends) != 1 or ends[0].shape[1:] != samples_NX.shape[1:]:
        raise ShapeError(
            f"{model.name}: must take samples {list(samples_NX.shape[1:])}; it takes {[list(e.shape[1:]) for e in ends]}."
        )
    given = samples_NX.astype(np.float32)
    if ends[0].dtype == "int8":
        given = codes_of(given, ends[0].scale, ends[0].zero, np.dtype("int8"))
    return [[row[None]] for row in given]
