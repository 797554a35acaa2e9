"""The MNIST file format, gzipped or not (http://yann.lecun.com/exdb/mnist, "the IDX file format")."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError
from potstill.core.spec import InputPath
from potstill.data._arrays import numbered
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry

_CHUNK = 4096
_STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}


@registry.register
class IdxSpec(DataSpec):
    """A folder with MNIST's four files (train-images…, train-labels…, t10k-images…, t10k-labels…), gz or not."""

    kind: Literal["idx"] = "idx"
    path: InputPath
    """The folder."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None names classes by their number."""

    def open(self) -> Source:
        splits: dict[str, SplitReader] = {}
        shape: tuple[int, ...] = ()
        classes = list(self.classes) if self.classes else None
        for split, (images_stem, labels_stem) in _STEMS.items():
            images, labels = self._find(images_stem), self._find(labels_stem)
            if images is None and labels is None and split == "test":
                continue
            if images is None or labels is None:
                missing = images_stem if images is None else labels_stem
                raise DataError(f"data.path {self.path}: must hold a file {missing}*-ubyte[.gz]; found none.")
            dims, label_dims = _header(images, 3), _header(labels, 1)
            if dims[0] != label_dims[0]:
                raise DataError(f"{labels}: must have one label a picture; got {label_dims[0]} for {dims[0]} pictures.")
            shape = dims[1:]
            if split == "train":
                classes = classes or numbered(_labels(labels, dims[0]))
            splits[split] = SplitReader(dims[0], _reader(images, labels, dims))
        return Source(splits, (shape[0], shape[1], 1), classes)

    def _find(self, stem: str) -> Path | None:
        files = sorted(p for p in self.path.glob(f"{stem}*ubyte*") if p.is_file())
        return next((p for p in files if p.name.endswith(("ubyte", "ubyte.gz"))), None)


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else open(path, "rb")


def _read(handle: BinaryIO, num: int, path: Path) -> bytes:
    try:
        data = handle.read(num)
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: must be a whole file; got {err}.") from err
    if len(data) != num:
        raise DataError(f"{path}: must be a whole file; it ends {num - len(data)} bytes early.")
    return data


def _header(path: Path, num_dims: int) -> tuple[int, ...]:
    with _open(path) as handle:
        magic = _read(handle, 4, path)
        if magic[:2] != b"\0\0" or magic[2] != 8 or magic[3] != num_dims:
            raise DataError(
                f"{path}: must be an IDX file of unsigned bytes with {num_dims} dimensions; got magic {magic!r}."
            )
        raw = _read(handle, 4 * num_dims, path)
        dims = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(0, 4 * num_dims, 4))
    if 0 in dims or math.prod(dims[1:]) > 1 << 24 or dims[0] > 1 << 31:
        raise DataError(f"{path}: must have sensible dimensions; got {list(dims)}.")
    return dims


def _labels(path: Path, num: int) -> NDArray[np.int64]:
    with _open(path) as handle:
        _read(handle, 8, path)
        return np.frombuffer(_read(handle, num, path), np.uint8).astype(np.int64)


def _reader(images: Path, labels: Path, dims: tuple[int, ...]) -> Callable[[], Iterator[Chunk]]:
    def chunks() -> Iterator[Chunk]:
        with _open(images) as pixel_file, _open(labels) as label_file:
            _read(pixel_file, 16, images)
            _read(label_file, 8, labels)
            for start in range(0, dims[0], _CHUNK):
                num = min(_CHUNK, dims[0] - start)
                pixels = np.frombuffer(_read(pixel_file, num * dims[1] * dims[2], images), np.uint8)
                found = np.frombuffer(_read(label_file, num, labels), np.uint8).astype(np.int64)
                yield Chunk(
                    pixels.reshape(num, dims[1], dims[2], 1),
                    found,
                    [f"{images.name} row {start + i}" for i in range(num)],
                )

    return chunks
