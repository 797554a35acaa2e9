"""Parquet with encoded pictures, in the Hugging Face image convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import DataError, nearest
from potstill.core.spec import InputPath
from potstill.data._arrays import numbered
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._decode import Headers, decode, probe, summarise

_CHUNK = 1024
_IMAGE_NAMES = ("image", "img", "images", "picture", "photo")
_LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")

Files = InputPath | tuple[InputPath, ...]


@registry.register
class ParquetSpec(DataSpec):
    """Parquet files with a column of encoded pictures (struct of bytes and path, or bytes) and one of labels."""

    kind: Literal["parquet"] = "parquet"
    train: Files
    """File with the training rows, or a list of files."""
    validation_file: Files | None = None
    """File or files with validation rows, where there are any."""
    test_file: Files | None = None
    """File or files with test rows, where there are any."""
    image_column: str = "image"
    """Column with the pictures."""
    label_column: str = "label"
    """Column with int labels, or class names; null marks a row without a label."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None takes the file's own (Hugging Face metadata), or the labels themselves."""
    size: int | None = Field(default=None, ge=1)
    """Bring every picture to this height and width; None needs them all alike."""
    grey: bool | None = None
    """One channel (true) or three (false); None takes what the first picture has."""

    def open(self) -> Source:
        opened = self._opened()
        height, width, channels = opened["train"][0].shape()
        if self.size is not None:
            height = width = self.size
        if self.grey is not None:
            channels = 1 if self.grey else 3
        classes = list(self.classes) if self.classes else _class_names(opened["train"])
        shape = (height, width, channels)
        readers = {
            split: SplitReader(sum(f.num_rows for f in files), _chain([f.reader(shape, classes) for f in files]))
            for split, files in opened.items()
        }
        return Source(readers, shape, classes)

    def headers(self, most: int = 2000) -> Headers:
        """Read the headers of about `most` pictures, from all over the files.

        Raises:
            DataError: one is no picture; names its row.
        """
        files = [file for opened in self._opened().values() for file in opened]
        return summarise(shape for file in files for shape in file.shapes(max(1, most // len(files))))

    def _opened(self) -> dict[str, list[_File]]:
        given = {"train": self.train, "validation": self.validation_file, "test": self.test_file}
        return {
            split: [_File(path, self) for path in ((paths,) if isinstance(paths, Path) else paths)]
            for split, paths in given.items()
            if paths
        }


def find_columns(path: Path) -> tuple[str, str]:
    """Return the names of a file's column of encoded pictures and of its column of labels, by name and type.

    Raises:
        DataError: it is not plain which they are; names all columns.
    """
    import pyarrow.types as kinds

    schema = _parquet(path).schema_arrow
    encoded = [f.name for f in schema if kinds.is_binary(f.type) or kinds.is_large_binary(f.type)
               or (kinds.is_struct(f.type) and f.type.get_field_index("bytes") >= 0)]  # fmt: skip
    marks = [f.name for f in schema if f.name not in encoded and (kinds.is_integer(f.type) or _is_text(f.type))]
    found = []
    for what, names, usual in (("encoded pictures", encoded, _IMAGE_NAMES), ("labels", marks, _LABEL_NAMES)):
        likely = [n for u in usual for n in names if n.lower() == u] or names
        if not likely or (likely is names and len(names) > 1):
            columns = ", ".join(f"{f.name} ({'struct' if kinds.is_struct(f.type) else f.type})" for f in schema)
            raise DataError(
                f"{path}: must have one column of {what} that is named {usual[0]}, or the only one of its type; it has: "
                f"{columns}. Rename the column to {usual[0]!r}, or say data.image_column and data.label_column in a recipe."
            )
        found.append(likely[0])
    return found[0], found[1]


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: must be a whole parquet file; got {err}.") from err


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):  # a categorical column
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _class_names(files: list[_File]) -> list[str] | None:
    """Return class names from the files' metadata, or the sorted text labels, or the numbers up to the largest."""
    named = files[0].class_names()
    if named is not None:
        return named
    values = {v for file in files for v in file.label_values()}
    if files[0].labels_are_text():
        return sorted(map(str, values))
    return numbered(np.array([int(v) for v in values if _is_whole(v)], np.int64))


def _is_whole(value: Any) -> bool:
    """Return whether a label can be an int64."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < 2**62 and float(value).is_integer()


def _chain(readers: list[Callable[[], Iterator[Chunk]]]) -> Callable[[], Iterator[Chunk]]:
    return lambda: (chunk for reader in readers for chunk in reader())


class _File:
    """One parquet file, checked to have both columns."""

    def __init__(self, path: Path, spec: ParquetSpec) -> None:
        self.path, self.spec = path, spec
        self.file = _parquet(path)
        self.num_rows: int = self.file.metadata.num_rows
        names = self.file.schema_arrow.names
        for column in (spec.image_column, spec.label_column):
            if column not in names:
                raise DataError(
                    f"{path}: must have a column {column!r}. {nearest(column, names)}It has: {', '.join(names)}."
                )
        if self.num_rows == 0:
            raise DataError(f"{path}: must have rows; got none.")

    def labels_are_text(self) -> bool:
        return _is_text(self.file.schema_arrow.field(self.spec.label_column).type)

    def class_names(self) -> list[str] | None:
        """Return the names in the file's Hugging Face metadata; None where there are none."""
        import json

        raw = (self.file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            names = json.loads(raw)["info"]["features"][self.spec.label_column]["names"] if raw else None
        except (KeyError, TypeError, ValueError):
            return None
        return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None

    def label_values(self) -> set[Any]:
        """Return the different values of the label column."""
        return {
            v
            for batch in self._batches([self.spec.label_column], 1 << 16)
            for v in batch.column(0).to_pylist()
            if isinstance(v, (int, float, str))
        }

    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, C) of the first picture."""
        return next(self.shapes(1))

    def shapes(self, most: int) -> Iterator[tuple[int, int, int]]:
        """Yield (H, W, C) of up to `most` pictures, the first of each of up to 16 row groups."""
        groups = range(self.file.num_row_groups)
        chosen = groups[:: -(-len(groups) // 16)]
        start = 0
        for group in groups:
            if group in chosen:
                num = max(1, most // len(chosen))
                batch = next(self._batches([self.spec.image_column], num, row_groups=[group]), None)
                for i, value in enumerate(batch.column(0).to_pylist() if batch is not None else ()):
                    yield probe(self._bytes(value, start + i), f"{self.path} row {start + i}")
            start += self.file.metadata.row_group(group).num_rows

    def reader(self, shape: tuple[int, int, int], classes: list[str] | None) -> Callable[[], Iterator[Chunk]]:
        def chunks() -> Iterator[Chunk]:
            start = 0
            numbers = {name: i for i, name in enumerate(classes or [])}
            for batch in self._batches([self.spec.image_column, self.spec.label_column], _CHUNK):
                pictures = batch.column(self.spec.image_column).to_pylist()
                names = [f"{self.path.name} row {start + i}" for i in range(len(pictures))]
                images = np.empty((len(pictures), *shape), np.uint8)
                for i, value in enumerate(pictures):
                    picture = decode(self._bytes(value, start + i), names[i], shape[2], self.spec.size)
                    if picture.shape != shape:
                        raise DataError(f"{names[i]}: pictures must all be {shape[0]}×{shape[1]}; got "
                                        f"{picture.shape[0]}×{picture.shape[1]}. Set size to bring them to one.")  # fmt: skip
                    images[i] = picture
                labels = [self._label(v, names[i], numbers)
                          for i, v in enumerate(batch.column(self.spec.label_column).to_pylist())]  # fmt: skip
                yield Chunk(images, np.array(labels, dtype=np.int64), names)
                start += len(pictures)

        return chunks

    def _batches(self, columns: list[str], size: int, **which: Any) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self.file.iter_batches(batch_size=size, columns=columns, **which)
        except (pa.ArrowException, OSError) as err:
            raise DataError(f"{self.path}: must be a whole parquet file; got {err}.") from err

    def _bytes(self, value: Any, row: int) -> bytes:
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DataError(f"{self.path.name} row {row}: {self.spec.image_column} must hold encoded bytes; "
                            f"got {type(data).__name__}.")  # fmt: skip
        return data

    def _label(self, value: Any, name: str, numbers: dict[str, int]) -> int:
        if value is None:
            return -1
        if isinstance(value, str):
            if value not in numbers:
                raise DataError(
                    f"{name}: label must be a known class; got {value!r}. {nearest(value, numbers)}".rstrip()
                )
            return numbers[value]
        if not _is_whole(value):
            raise DataError(f"{name}: label must be an int or a class name; got {value!r}.")
        return int(value)
