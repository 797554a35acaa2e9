"""Parquet with encoded pictures, in the Hugging Face image convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import DataError, nearest
from potstill.core.spec import InputPath
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._decode import decode, probe

_CHUNK = 1024


@registry.register
class ParquetSpec(DataSpec):
    """Parquet files with a column of encoded pictures (struct of bytes and path, or bytes) and one of labels."""

    kind: Literal["parquet"] = "parquet"
    train: InputPath
    """File with the training rows."""
    validation_file: InputPath | None = None
    """File with validation rows, where there is one."""
    test_file: InputPath | None = Field(default=None)
    """File with test rows, where there is one."""
    image_column: str = "image"
    """Column with the pictures."""
    label_column: str = "label"
    """Column with int labels, or class names; null marks a row without a label."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None takes the file's own (Hugging Face metadata), or the labels themselves."""
    size: int | None = Field(default=None, ge=1)
    """Bring every picture to this height and width; None needs them all alike."""

    def open(self) -> Source:
        files = {"train": self.train, "validation": self.validation_file, "test": self.test_file}
        opened = {split: _File(path, self) for split, path in files.items() if path is not None}
        first = opened["train"]
        height, width, channels = first.shape()
        if self.size is not None:
            height = width = self.size
        classes = list(self.classes) if self.classes else first.class_names()
        readers = {
            split: SplitReader(file.num_rows, file.reader((height, width, channels), self.size, classes))
            for split, file in opened.items()
        }
        numeric = not first.labels_are_text()
        return Source(readers, (height, width, channels), classes if classes or not numeric else None)


class _File:
    """One parquet file, checked to have both columns."""

    def __init__(self, path: Path, spec: ParquetSpec) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path, self.spec = path, spec
        try:
            self.file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as err:
            raise DataError(f"{path}: must be a whole parquet file; got {err}.") from err
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
        import pyarrow as pa

        kind = self.file.schema_arrow.field(self.spec.label_column).type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    def class_names(self) -> list[str] | None:
        """Return class names from the file's metadata, or the sorted text labels; None for bare numbers."""
        import json

        raw = (self.file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            names = json.loads(raw)["info"]["features"][self.spec.label_column]["names"] if raw else None
        except (KeyError, TypeError, ValueError):
            names = None
        if names is None and self.labels_are_text():
            column = self.file.read(columns=[self.spec.label_column]).column(0)
            names = sorted(v for v in column.unique().to_pylist() if v is not None)
        return names

    def shape(self) -> tuple[int, int, int]:
        batch = next(self._batches([self.spec.image_column], 1))
        return probe(self._bytes(batch.column(0)[0].as_py(), 0), f"{self.path} row 0")

    def reader(
        self, shape: tuple[int, int, int], size: int | None, classes: list[str] | None
    ) -> Callable[[], Iterator[Chunk]]:
        def chunks() -> Iterator[Chunk]:
            start = 0
            numbers = {name: i for i, name in enumerate(classes or [])}
            for batch in self._batches([self.spec.image_column, self.spec.label_column], _CHUNK):
                pictures = batch.column(self.spec.image_column).to_pylist()
                names = [f"{self.path.name} row {start + i}" for i in range(len(pictures))]
                images = np.empty((len(pictures), *shape), np.uint8)
                for i, value in enumerate(pictures):
                    picture = decode(self._bytes(value, start + i), names[i], shape[2], size)
                    if picture.shape != shape:
                        raise DataError(f"{names[i]}: pictures must all be {shape[0]}×{shape[1]}; got "
                                        f"{picture.shape[0]}×{picture.shape[1]}. Set size to bring them to one.")  # fmt: skip
                    images[i] = picture
                labels = [self._label(v, names[i], numbers)
                          for i, v in enumerate(batch.column(self.spec.label_column).to_pylist())]  # fmt: skip
                yield images, np.array(labels, dtype=np.int64), names
                start += len(pictures)

        return chunks

    def _batches(self, columns: list[str], size: int) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self.file.iter_batches(batch_size=size, columns=columns)
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
        if isinstance(value, bool) or int(value) != value:
            raise DataError(f"{name}: label must be an int or a class name; got {value!r}.")
        return int(value)
