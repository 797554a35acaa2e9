"""Safetensors files, read by numpy memory map at the tensor's offset and written in a stream.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes
(https://huggingface.co/docs/safetensors). A reader here trusts nothing in the header before checking it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DamagedError, StoreError

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
    "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(v): k for k, v in _DTYPES.items()}
_MAX_HEADER = 100_000_000
_MAX_VALUES, _MAX_RANK = 1 << 48, 8
"""Above what we write, below what NumPy refuses."""


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return (header, offset of the data). Checks length, JSON, dtypes, shapes and that the spans tile the file.

    Raises:
        StoreError: the file is missing, truncated or its header lies.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as handle:
            raw = handle.read(8)
            length = int.from_bytes(raw, "little")
            if len(raw) < 8 or length > min(_MAX_HEADER, size - 8):
                raise StoreError(f"{path}: must be a whole safetensors file; got {size} bytes, truncated or foreign.")
            header = json.loads(handle.read(length))
    except OSError as err:
        raise StoreError(f"{path}: must be readable; got {err.strerror}.") from err
    except (ValueError, RecursionError) as err:
        raise StoreError(f"{path}: header must be JSON; got {type(err).__name__}. The file is damaged.") from err
    _check_spans(path, header, size - 8 - length)
    return header, 8 + length


def _check_spans(path: Path, header: Any, data_bytes: int) -> None:
    try:
        spans = []
        for name, info in header.items():
            if name == "__metadata__":
                continue
            start, stop = info["data_offsets"]
            shape = info["shape"]
            whole = all(type(v) is int and v >= 0 for v in (start, stop, *shape[:_MAX_RANK]))
            if not whole or len(shape) > _MAX_RANK or math.prod(d for d in shape if d) > _MAX_VALUES:
                raise ValueError(f"tensor {name!r}")
            count = math.prod(shape)
            if info["dtype"] not in _DTYPES or stop - start != count * np.dtype(_DTYPES[info["dtype"]]).itemsize:
                raise ValueError(f"tensor {name!r}")
            spans.append((start, stop))
        end = 0
        for start, stop in sorted(spans):
            if start != end:
                raise ValueError(f"offset {start}, expected {end}")
            end = stop
        if end != data_bytes:
            raise ValueError(f"{data_bytes} data bytes, expected {end}")
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise StoreError(f"{path}: header must describe the file; got {err}. It is truncated or damaged.") from err


class Map(mmap.mmap):
    """A mapped file that knows where it is from."""

    path: Path

    def check_whole(self) -> None:
        """Raise DamagedError if the file was cut short since: pages that it has lost end the process when they are
        touched, and its last page reads as zeros. Costs one fstat."""
        if self.size() < len(self):
            raise DamagedError(
                f"{self.path}: must keep its {len(self)} bytes while it is read; it has {self.size()}. Something else cut "
                "it. Remove what is damaged, then run again: potstill cache gc --damaged"
            )


def mapping(array: NDArray[Any]) -> Map | None:
    """Return the map that an array of `open_arrays` lies in; None for an array in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    return mapped if isinstance(mapped, Map) else None


def open_arrays(path: Path, scattered: bool = False) -> dict[str, NDArray[Any]]:
    """Return read-only arrays mapped from the file, nothing copied. Raises StoreError as `read_header`.

    Args:
        path: of the file.
        scattered: rows will be read in no order: the kernel then fetches only the pages touched. Otherwise it fetches
            what lies around them too, up to megabytes a row, which is in vain where memory is scarcer than the file.
    """
    header, offset = read_header(path)
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return {}
    with open(path, "rb") as handle:
        mapped = Map(handle.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.path = path
    if scattered and hasattr(mmap, "MADV_RANDOM"):  # Windows has no such call
        mapped.madvise(mmap.MADV_RANDOM)
    out: dict[str, NDArray[Any]] = {}
    for name in names:
        info = header[name]
        count = int(np.prod(info["shape"], dtype=np.int64))
        array = np.frombuffer(mapped, _DTYPES[info["dtype"]], count=count, offset=offset + info["data_offsets"][0])
        out[name] = array.reshape(info["shape"])
    return out


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to `path`, byte for byte the same for the same input. Not atomic: wrap in `atomic.replacing`."""
    with TensorWriter(path, {k: (v.dtype, v.shape) for k, v in arrays.items()}, metadata) as writer:
        for name, array in arrays.items():
            writer.append(name, array)


class TensorWriter:
    """Writes tensors of known shape row by row, in any interleaving, so that nothing large is held in memory.

    Args:
        path: the file to create.
        layout: name -> (dtype, shape).
        metadata: strings for the header.
    """

    def __init__(
        self, path: Path, layout: Mapping[str, tuple[Any, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
    ) -> None:
        header: dict[str, Any] = {}
        if metadata:
            header["__metadata__"] = dict(sorted(metadata.items()))
        self._cursor: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._dtype: dict[str, np.dtype[Any]] = {}
        position = 0
        # Widest items first: every tensor then starts at a multiple of its own item size.
        for name in sorted(layout, key=lambda n: (-np.dtype(layout[n][0]).itemsize, n)):
            dtype, shape = np.dtype(layout[name][0]).newbyteorder("<"), layout[name][1]
            stop = position + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [position, stop]}
            self._cursor[name], self._end[name], self._dtype[name] = position, stop, dtype
            position = stop
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        base = 8 + len(raw)
        self._cursor = {k: v + base for k, v in self._cursor.items()}
        self._end = {k: v + base for k, v in self._end.items()}
        self._handle = open(path, "wb")  # noqa: SIM115 - closed in __exit__
        self._handle.write(len(raw).to_bytes(8, "little") + raw)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Write `rows` at the tensor's cursor."""
        data = np.ascontiguousarray(rows, dtype=self._dtype[name])
        self._handle.seek(self._cursor[name])
        self._handle.write(data.tobytes())
        self._cursor[name] += data.nbytes
        if self._cursor[name] > self._end[name]:
            raise ValueError(f"{name}: more rows than its shape has")

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._handle.close()
        if kind is None and self._cursor != self._end:
            short = [n for n in self._cursor if self._cursor[n] != self._end[n]]
            raise ValueError(f"rows missing in {short}")
