"""Texts with their translation: two files whose lines belong together, or a table with two columns. Shapes: L bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import DataError
from potstill.core.samples import SampleKind
from potstill.core.spec import InputPath, Spec
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._rows import SUFFIXES, rows_of
from potstill.data._texts import cut, encoded

_CHUNK = 2048


class PairedFiles(Spec):
    """One split: two files, or one table."""

    source: InputPath = Field(examples=["source.txt"])
    """File with a text a line (plain or .gz), or, without `target`, a table: CSV, TSV, JSON Lines or parquet."""
    target: InputPath | None = None
    """File with the translation of each line of `source`; None where `source` is a table."""


@registry.register
class ParallelSpec(DataSpec):
    """Texts and their translations, UTF-8; the model reads one and learns to write the other."""

    kind: Literal["parallel"] = "parallel"
    train: PairedFiles
    """Training rows."""
    validation_files: PairedFiles | None = None
    """Validation rows, where there are any."""
    test_files: PairedFiles | None = None
    """Test rows, where there are any."""
    source_column: str = "source"
    """Of a table, the column with the texts that are read."""
    target_column: str = "target"
    """Of a table, the column with their translations."""
    untranslated: Literal["error", "keep"] = "error"
    """What an empty translation is: a fault, or a row that a teacher alone can teach (validation and test leave it out)."""
    max_bytes: int | None = Field(default=None, ge=4)
    """Cut texts of both sides after so many bytes of UTF-8; None keeps the longest whole."""

    def pairs(self) -> bool:
        return True

    def gives(self) -> SampleKind:
        return "text"

    def open(self) -> Source:
        given = {"train": self.train, "validation": self.validation_files, "test": self.test_files}
        found = {name: _Found(files) for name, files in given.items() if files is not None}
        for one in found.values():
            for name, source, target in self._rows(one.files):
                one.add(name, source, target)
        most = self.max_bytes or 1 << 30
        widths = tuple(min(most, max(one.longest[side] for one in found.values())) for side in (0, 1))
        readers = {name: SplitReader(one.num_rows, self._chunks(one.files, widths)) for name, one in found.items()}
        return Source(readers, (widths[0],), ["text"], kind="text", target_shape=(widths[1],), target_text=True)

    def _chunks(self, files: PairedFiles, widths: tuple[int, ...]) -> Callable[[], Iterator[Chunk]]:
        def chunks() -> Iterator[Chunk]:
            kept: list[tuple[str, bytes, bytes]] = []
            for row in self._rows(files):
                kept.append(row)
                if len(kept) == _CHUNK:
                    yield _chunk(kept, widths)
                    kept = []
            if kept:
                yield _chunk(kept, widths)

        return chunks

    def _rows(self, files: PairedFiles) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (name, source, target) of each row, checked; an untranslated row has the target b""."""
        for name, source, target in self._paired(files):
            read = encoded(source, f"{name}, source")
            empty = target is None or (isinstance(target, str) and not target.strip())
            if empty and self.untranslated == "error":
                raise DataError(f"{name}: must have a translation; got {target!r}. Drop the row, or set data.untranslated: keep "
                                "so that a teacher alone teaches it.")  # fmt: skip
            yield name, read, b"" if empty else encoded(target, f"{name}, target")

    def _paired(self, files: PairedFiles) -> Iterator[tuple[str, Any, Any]]:
        if files.target is None:
            if files.source.suffix.lower() not in SUFFIXES:
                raise DataError(f"{files.source}: must be a table ({', '.join(SUFFIXES)}) where no target file is given. Give "
                                "data.train.target, whose lines belong to the source's.")  # fmt: skip
            for name, (source, target) in rows_of(files.source, [self.source_column, self.target_column]):
                yield name, source, target
            return
        ours, theirs = _lines(files.source), _lines(files.target)
        number = 0
        while True:
            number += 1
            source, target = next(ours, None), next(theirs, None)
            if source is None and target is None:
                return
            if source is None or target is None:
                short, other = (files.source, files.target) if source is None else (files.target, files.source)
                raise DataError(f"{short.name}: must have as many lines as {other.name}; it ends after {number - 1}. Lines of "
                                "the two files belong together.")  # fmt: skip
            yield f"{files.source.name} line {number}", source, target


@dataclass
class _Found:
    """What a first reading of a split tells."""

    files: PairedFiles
    num_rows: int = 0
    longest: list[int] = field(default_factory=lambda: [1, 1])

    def add(self, name: str, source: bytes, target: bytes) -> None:
        self.num_rows += 1
        self.longest = [max(self.longest[0], len(source)), max(self.longest[1], len(target))]


def _lines(path: Path) -> Iterator[str]:
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: must be UTF-8; got {err.reason} at byte {err.start}. Save it as UTF-8.") from err
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"{path}: must be a whole text file; got {err}.") from err


def _chunk(rows: list[tuple[str, bytes, bytes]], widths: tuple[int, ...]) -> Chunk:
    sides = [np.zeros((len(rows), width), np.uint8) for width in widths]
    for i, row in enumerate(rows):
        for side, text, width in zip(sides, row[1:], widths, strict=True):
            data = cut(text, width)
            side[i, : len(data)] = np.frombuffer(data, np.uint8)
    labels = np.array([0 if target else -1 for _, _, target in rows], np.int64)
    return Chunk(sides[0], labels, [name for name, _, _ in rows], targets=sides[1])
