"""One split of a source as it came: read once, checked row by row, kept in a scratch file. Shapes: N rows, X the shape of one
sample, C channels, V variables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError
from potstill.core.samples import FORMS, SampleKind
from potstill.core.tensorfile import TensorWriter, open_arrays
from potstill.data._base import Chunk, Source, SplitReader

_CHUNK = 2048
_PER_ROW: dict[str, np.dtype[Any]] = {"weights": np.dtype("<f4"), "groups": np.dtype("<i8")}


class Raw:
    """One split of a source, decoded to a scratch file.

    Args:
        name: of the split.
        reader: of its rows.
        source: that it belongs to.
        scratch: folder for the file, which the caller removes.
        shown: progress, advanced by each row.

    Raises:
        DataError: a row is not of the source's shape, or its numbers cannot be trained on; names it.
    """

    def __init__(self, name: str, reader: SplitReader, source: Source, scratch: Path, shown: Any) -> None:
        self.name, self._reader, self.num_rows = name, reader, reader.num_rows
        self._source, num = source, reader.num_rows
        layout: dict[str, tuple[str, tuple[int, ...]]] = {
            "samples": (FORMS[source.kind].dtype, (num, *source.shape)),
            "digests": ("|u1", (num, 16)),
        }
        if source.target_shape is not None:
            layout["targets"] = ("|u1" if source.target_text else "<f4", (num, *source.target_shape))
        self.labels = np.empty(num, np.int64)
        self.extras: dict[str, NDArray[Any]] = {}
        """"weights" and "groups", where the source gives them."""
        path, start = scratch / f"{name}.safetensors", 0
        with TensorWriter(path, layout) as writer:
            for chunk in reader.chunks():
                self._check(chunk)
                stop = start + len(chunk.samples)
                if stop > num:
                    raise DataError(f"data {name}: must give {num} rows as it said; it gives more.")
                writer.append("samples", chunk.samples)
                writer.append("digests", digests(chunk.samples))
                if chunk.targets is not None:
                    writer.append("targets", chunk.targets)
                self.labels[start:stop] = chunk.labels
                self._keep_extras(chunk, start, stop)
                start = stop
                shown.advance(len(chunk.samples))
            if start != num:
                raise DataError(f"data {name}: must give {num} rows as it said; it gave {start}.")
        arrays = open_arrays(path)
        self.samples, self.digests, self.targets = arrays["samples"], arrays["digests"], arrays.get("targets")

    def _keep_extras(self, chunk: Chunk, start: int, stop: int) -> None:
        for name, dtype in _PER_ROW.items():
            given = getattr(chunk, name)
            if (given is not None) != (name in self.extras) and start > 0:
                raise DataError(f"{chunk.names[0]}: every row must have {name}, or none; got both.")
            if given is not None:
                self.extras.setdefault(name, np.empty((self.num_rows,), dtype))[start:stop] = given

    def _check(self, chunk: Chunk) -> None:
        source, form = self._source, FORMS[self._source.kind]
        samples, labels, names = chunk.samples, chunk.labels, chunk.names
        first = names[0] if names else self.name
        if samples.dtype != np.dtype(form.dtype) or samples.shape[1:] != source.shape or len(labels) != len(samples):
            plural = form.noun if form.noun == "series" else form.noun + "s"
            raise DataError(f"{first}: {plural} must be {np.dtype(form.dtype)} {list(source.shape)} with a label each; got "
                            f"{samples.dtype} {list(samples.shape[1:])}, {len(labels)} labels.")  # fmt: skip
        if source.kind == "series":
            _refuse(~np.isfinite(samples).reshape(len(samples), -1).all(axis=1), names, "values must be finite; got NaN or "
                    "Inf. Fill or drop the row")  # fmt: skip
        if source.kind == "text":
            _refuse(~samples.astype(bool).any(axis=1), names, "text must not be empty; got nothing. Drop the row")
        targets = chunk.targets
        if (targets is None) != (source.target_shape is None) or (
            targets is not None and targets.shape != (len(samples), *(source.target_shape or ()))
        ):
            raise DataError(f"{first}: targets must be {source.target_shape}; got "
                            f"{None if targets is None else targets.shape[1:]}.")  # fmt: skip
        if targets is not None:
            whole = np.isfinite(targets).reshape(len(targets), -1).all(axis=1)
            _refuse((labels >= 0) & ~whole, names, "targets must be finite; got NaN or Inf. Fill or drop the row")
            if targets.ndim == 2:
                flags = source.target_text | ((targets == 0) | (targets == 1)).all(axis=1)
                _refuse((labels >= 0) & ~flags, names, "targets must be 0 or 1, one a class; got something else")
            if source.target_text:
                empty = (labels >= 0) & ~targets.astype(bool).any(axis=1)
                _refuse(empty, names, "the text to be written must not be empty; got nothing. Drop the row")
        if chunk.weights is not None:
            good = np.isfinite(chunk.weights) & (chunk.weights > 0)
            _refuse(
                ~good, names, "weight must be a finite number above 0; got something else. Drop rows that do not count"
            )
        if chunk.groups is not None:
            _refuse(chunk.groups < 0, names, "group must be a number >= 0; got a negative one")

    def name_of(self, row: int) -> str:
        """Return the source's own name of a row (found by reading again: errors may be slow, rows must be light)."""
        start = 0
        for chunk in self._reader.chunks():
            if row < start + len(chunk.labels):
                return chunk.names[row - start]
            start += len(chunk.labels)
        return f"{self.name} row {row}"

    def keys(self) -> NDArray[np.int64]:
        """Return [N] int64 made from the digests: equal samples have equal keys."""
        return np.ascontiguousarray(self.digests[:, :8]).view("<i8")[:, 0]


def _refuse(bad_N: Any, names: list[str], why: str) -> None:
    if bad_N.any():
        more = f" ({int(bad_N.sum())} such rows near it)" if bad_N.sum() > 1 else ""
        raise DataError(f"{names[int(np.argmax(bad_N))]}: {why}{more}.")


def digests(samples_NX: NDArray[Any]) -> NDArray[Any]:
    """Return [N, 16] uint8, of each sample and its shape."""
    shape = repr(samples_NX.shape[1:]).encode()
    out = np.empty((len(samples_NX), 16), np.uint8)
    for i, sample in enumerate(np.ascontiguousarray(samples_NX)):
        out[i] = np.frombuffer(hashlib.sha256(shape + sample.tobytes()).digest()[:16], np.uint8)
    return out


def moments(kind: SampleKind, samples_NX: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel of pixels in [0, 1] or per variable of series; nothing for other kinds.

    Pixels are summed as integers, so that no order matters; series in float64, in the order of the rows.
    """
    if kind not in ("image", "series"):
        return [], []
    wide = np.int64 if kind == "image" else np.float64
    channels = samples_NX.shape[-1]
    total, squares = np.zeros(channels, wide), np.zeros(channels, wide)
    for part in _chunks(samples_NX):
        flat = part.reshape(-1, channels).astype(wide)
        total += flat.sum(axis=0)
        squares += (flat * flat).sum(axis=0)
    num = samples_NX.size // channels
    mean = total / num
    std = np.sqrt(np.maximum(squares / num - mean**2, 0))
    scale = 255 if kind == "image" else 1
    return (mean / scale).tolist(), (std / scale).tolist()


def _chunks(samples_NX: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(samples_NX), _CHUNK):
        yield samples_NX[start : start + _CHUNK]
