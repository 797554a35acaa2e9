"""Texts with a class each, from tables: CSV, JSON Lines or parquet. Shapes: L bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from potstill.core.errors import DataError, nearest
from potstill.core.samples import SampleKind
from potstill.core.spec import InputPath
from potstill.data._arrays import MAX_CLASSES
from potstill.data._base import DataSpec, Source, SplitReader, registry
from potstill.data._rows import columns_of, rows_of
from potstill.data._texts import Row, chunks_of, encoded

TEXT_NAMES = ("text", "sentence", "utterance", "query", "content", "body", "message", "review")
LABEL_NAMES = ("label", "labels", "intent", "class", "category", "target", "y")

_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip

Files = InputPath | tuple[InputPath, ...]


@registry.register
class TextSpec(DataSpec):
    """CSV, TSV, JSON Lines or parquet files with a column of text and one of labels; UTF-8."""

    kind: Literal["text"] = "text"
    train: Files
    """File with the training rows, or a list of files."""
    validation_file: Files | None = None
    """File or files with validation rows, where there are any."""
    test_file: Files | None = None
    """File or files with test rows, where there are any."""
    text_column: str = "text"
    """Column with the texts; space around a text is taken off."""
    label_column: str = "label"
    """Column with class names, or whole numbers from 0; empty (null) marks a row without a label."""
    several: bool = False
    """A row may have several labels, or none: a list of names (JSON Lines, parquet), or names with a semicolon between; for the
    task multi-label-classification. Empty means no class, null that nobody knows."""
    group_column: str | None = None
    """Column that says whose a text is: rows of one group fall on one side of every split."""
    split_column: str | None = None
    """Column of `train` that says of each row whether it is of the train, validation or test split."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None takes the labels of the training rows, sorted."""
    no_class: str | None = None
    """A label that is no class, such as "oos": its rows count as rows without a label."""
    max_bytes: int | None = Field(default=None, ge=4)
    """Cut texts after so many bytes of UTF-8; None keeps the longest whole."""

    def gives(self) -> SampleKind:
        return "text"

    def open(self) -> Source:
        found = _Found()
        for file in self._files():
            for split, row in self._rows(file):
                found.add(split, row, self.several)
        if not found.num_rows.get("train"):
            raise DataError(f"data: must have training rows; got {found.num_rows or 'none'}.")
        classes = list(self.classes) if self.classes else found.classes()
        length = min(found.longest, self.max_bytes or found.longest)
        groups = {name: i for i, name in enumerate(sorted(found.groups))}
        num_flags = len(classes or ()) if self.several else None
        readers = {
            split: SplitReader(num, chunks_of(self._of_split(split, classes, groups), length, num_flags))
            for split, num in found.num_rows.items()
        }
        return Source(
            readers, (length,), classes, kind="text", target_shape=(num_flags,) if num_flags is not None else None
        )

    def _files(self) -> Iterator[tuple[str, Path]]:
        given = {"train": self.train, "validation": self.validation_file, "test": self.test_file}
        for split, paths in given.items():
            for path in ((paths,) if isinstance(paths, Path) else paths) or ():
                yield split, path

    def _rows(self, file: tuple[str, Path]) -> Iterator[tuple[str, _Line]]:
        """Yield (split, row) of a file, checked to have the columns that the recipe names."""
        split, path = file
        by_column = self.split_column is not None and split == "train"
        columns = [self.text_column, self.label_column]
        columns += [self.group_column] if self.group_column is not None else []
        columns += [self.split_column] if by_column and self.split_column is not None else []
        self._must_have(path, columns)
        for name, values in rows_of(path, columns):
            group = values[2] if self.group_column is not None else None
            if self.group_column is not None and group is None:
                raise DataError(
                    f"{name}: {self.group_column} must say whose row it is; got nothing. Fill or drop the row."
                )
            own = _SPLITS.get(str(values[-1]).strip().lower(), "") if by_column else split
            if not own:
                raise DataError(f"{name}: {self.split_column} must be train, validation or test; got {values[-1]!r}.")
            label = None if values[1] == self.no_class else values[1]
            yield own, _Line(name, values[0], label, None if group is None else str(group))

    def _must_have(self, path: Path, columns: list[str]) -> None:
        names = columns_of(path)
        for column in columns:
            if column not in names:
                fields = ("text_column", "label_column", "group_column", "split_column")
                name = next(f for f in fields if getattr(self, f) == column)
                raise DataError(f"{path}: must have a column {column!r}, which data.{name} names. {nearest(column, names)}It "
                                f"has: {', '.join(names)}.")  # fmt: skip

    def _of_split(self, split: str, classes: list[str] | None, groups: dict[str, int]) -> Callable[[], Iterable[Row]]:
        numbers = {name: i for i, name in enumerate(classes or ())}

        def rows() -> Iterator[Row]:
            for file in self._files():
                for own, line in self._rows(file):
                    if own == split:
                        group = None if line.group is None else groups[line.group]
                        if self.several:
                            yield Row(
                                line.name, line.text, -1 if line.label is None else 0, group, _flags(line, numbers)
                            )
                        else:
                            yield Row(line.name, line.text, _number(line, numbers), group)

        return rows


def find_columns(path: Path) -> tuple[str, str]:
    """Return the names of a table's column of texts and of its column of labels.

    Raises:
        DataError: it is not plain which they are; names all columns.
    """
    names = columns_of(path)
    found = []
    for what, usual in (("texts", TEXT_NAMES), ("labels", LABEL_NAMES)):
        likely = [n for u in usual for n in names if n.lower() == u]
        if not likely:
            raise DataError(
                f"{path}: must have a column of {what} named {usual[0]} (or {', '.join(usual[1:5])}); it has: "
                f"{', '.join(names)}. Rename the column, or say data.text_column and data.label_column in a recipe."
            )
        found.append(likely[0])
    return found[0], found[1]


@dataclass(frozen=True)
class _Line:
    """One row as it stands in its file."""

    name: str
    text: Any
    label: Any
    group: str | None


@dataclass
class _Found:
    """What a first reading of the files tells."""

    num_rows: dict[str, int] = field(default_factory=dict)
    longest: int = 1
    labels: set[Any] = field(default_factory=set)
    """Of the training rows."""
    groups: set[str] = field(default_factory=set)

    def add(self, split: str, line: _Line, several: bool) -> None:
        self.num_rows[split] = self.num_rows.get(split, 0) + 1
        self.longest = max(self.longest, len(encoded(line.text, line.name)))
        if line.group is not None:
            self.groups.add(line.group)
        if split == "train" and line.label is not None:
            if several:
                self.labels.update(_listed(line))
            else:
                _must_be_label(line)
                self.labels.add(line.label)
            if len(self.labels) > MAX_CLASSES:
                raise DataError(
                    f"{line.name}: there must be at most {MAX_CLASSES} labels. Is this column one of labels?"
                )

    def classes(self) -> list[str] | None:
        """Return names in label order: of numbers that count from 0, the numbers."""
        numbers = {_whole(v) for v in self.labels}
        if self.labels and None not in numbers:
            known = {v for v in numbers if v is not None}
            return [str(k) for k in range(max(known) + 1)] if min(known) >= 0 else None
        return sorted(map(str, self.labels))


def _must_be_label(line: _Line) -> None:
    if not isinstance(line.label, str | int | float) or isinstance(line.label, bool):
        raise DataError(f"{line.name}: label must be a class name or a whole number; got {line.label!r}.")


def _whole(value: Any) -> int | None:
    """Return a label as a whole number; None where it is a name. A CSV has numbers as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**62 else None


def _listed(line: _Line) -> list[str]:
    """Return the names of a row's classes."""
    if isinstance(line.label, str):
        return [name.strip() for name in line.label.split(";") if name.strip()]
    if isinstance(line.label, (list, tuple)) and all(isinstance(v, str) and v.strip() for v in line.label):
        return [v.strip() for v in line.label]
    raise DataError(
        f"{line.name}: labels must be a list of names, or names with a semicolon between; got {line.label!r}."
    )


def _flags(line: _Line, numbers: dict[str, int]) -> list[int]:
    """Return the numbers of a row's classes."""
    names = [] if line.label is None else _listed(line)
    for name in names:
        if name not in numbers:
            raise DataError(f"{line.name}: labels must be classes that the training rows have; got {name!r}. "
                            f"{nearest(name, numbers)}".rstrip())  # fmt: skip
    return [numbers[name] for name in names]


def _number(line: _Line, numbers: dict[str, int]) -> int:
    if line.label is None:
        return -1
    _must_be_label(line)
    whole = _whole(line.label)
    for name in (str(line.label), "" if whole is None else str(whole)):
        if name in numbers:
            return numbers[name]
    raise DataError(
        f"{line.name}: label must be a class that the training rows have; got {line.label!r}. "
        f"{nearest(str(line.label), numbers)}If it is none, say data.no_class."
    )
