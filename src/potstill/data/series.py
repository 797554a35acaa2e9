"""Windows of series with a class each, from a table. Shapes: n rows of a batch, T steps, V variables, L numbers of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.core.errors import DataError, nearest
from potstill.core.samples import SampleKind
from potstill.core.spec import InputPath
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._columns import Batch, Table

_SPLITS = {"train": 0, "training": 0, "validation": 1, "val": 1, "valid": 1, "dev": 1, "test": 2, "testing": 2}
_NAMES = ("train", "validation", "test")
_LEFT_OUT = -1


@registry.register
class SeriesSpec(DataSpec):
    """Windows of series with a label each, from one CSV, parquet or .npz file: a window a row, or a step a row."""

    kind: Literal["series"] = "series"
    path: InputPath
    """The file: .parquet, .csv, .csv.gz, or .npz with one array a column."""
    values: str | tuple[str, ...]
    """Columns with the values; `*` stands for anything. Columns of lists: each is a variable, or several if `variables` says so.
    Columns of numbers: each is a step. With `window`: each is a variable, and each row a step."""
    label: str
    """Column with class names or numbers; empty marks a window without a label."""
    window: str | None = None
    """Column with the number or name of the window that a row is a step of; its rows follow one another. None: a row is a
    window."""
    variables: int = Field(default=1, ge=1)
    """Variables that a list, or a row of columns, holds beside one another: 3 where it is x, y, z, x, y, z."""
    constants: tuple[str, ...] = ()
    """Columns with one number a window: each becomes a variable that is the same at every step. `a/b` is the logarithm of a
    ratio of two columns above 0."""
    group: str | None = None
    """Column with the patient, person or machine: windows of one group fall on one side of every split."""
    weight: str | None = None
    """Column with what a window counts, above 0, in the loss and in every metric."""
    split: str | None = None
    """Column that says train, validation or test; None splits by share."""
    test_groups: tuple[str, ...] = ()
    """Groups that are the test split."""
    validation_groups: tuple[str, ...] = ()
    """Groups that are the validation split."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None takes the labels found, sorted."""
    unlisted: Literal["error", "drop"] = "error"
    """What to do with windows whose label is not among `classes`: stop, or leave them out."""
    rate_hz: float | None = Field(default=None, gt=0)
    """Steps a second, where it is known."""

    @model_validator(mode="after")
    def _fits_together(self) -> SeriesSpec:
        if (self.test_groups or self.validation_groups) and self.group is None:
            raise ValueError("group must be given where test_groups or validation_groups are")
        both = set(self.test_groups) & set(self.validation_groups)
        if both:
            raise ValueError(f"test_groups and validation_groups must not share a group; got {sorted(both)}")
        if self.window is not None and self.variables != 1:
            raise ValueError(
                "variables must be left out where a row is a step: there each column of values is a variable"
            )
        if self.unlisted == "drop" and self.classes is None:
            raise ValueError("classes must be given where unlisted is drop")
        return self

    def gives(self) -> SampleKind:
        return "series"

    def open(self) -> Source:
        table = Table(self.path)
        columns = _matching(table, self.values)
        factors = sorted({part for name in self.constants for part in name.split("/")})
        table.must_have([self.label], "label")
        for field, wanted in (
            ("group", self.group),
            ("weight", self.weight),
            ("split", self.split),
            ("window", self.window),
        ):
            table.must_have([wanted] if wanted else [], field)
        table.must_have(factors, "constants")
        index = _index(self, table)
        shape = _shape(self, table, columns, index)
        reader = _Reader(self, table, columns, factors, index, shape)
        splits = {}
        for number, name in enumerate(_NAMES):
            num = int((index.splits == number).sum())
            if num or name == "train":
                splits[name] = SplitReader(num, reader.of(number))
        return Source(splits, shape, index.classes, kind="series", rate_hz=self.rate_hz)


@dataclass(frozen=True)
class _Index:
    """What is known of every window before values are read."""

    starts: NDArray[np.int64]
    """Its first row, and one past the last window's last row."""
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    """0 train, 1 validation, 2 test, -1 left out."""
    groups: NDArray[np.int64] | None
    classes: list[str]


def _matching(table: Table, wanted: str | Sequence[str]) -> list[str]:
    """Return the columns of values, in the order asked for; those of a pattern in the file's."""
    names, out = table.names, list[str]()
    for pattern in (wanted,) if isinstance(wanted, str) else wanted:
        found = [n for n in names if fnmatchcase(n, pattern)] if "*" in pattern else [pattern]
        if not found:
            raise DataError(
                f"{table.path}: some column must match data.values {pattern!r}; it has: {', '.join(names[:12])}."
            )
        table.must_have(found, "values")
        out += [n for n in found if n not in out]
    return out


class _Codes:
    """Texts numbered in the order in which they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def of(self, texts: NDArray[np.object_]) -> NDArray[np.int64]:
        out = np.empty(len(texts), np.int64)
        for i, text in enumerate(texts):
            if text is None or text == "":
                out[i] = -1
                continue
            if text not in self._numbers:
                self._numbers[text] = len(self.names)
                self.names.append(text)
            out[i] = self._numbers[text]
        return out


def _index(spec: SeriesSpec, table: Table) -> _Index:
    """Read the columns that say what each row is, and check them."""
    columns = [c for c in (spec.label, spec.group, spec.split, spec.window) if c is not None]
    codes = {c: _Codes() for c in columns}
    parts: dict[str, list[NDArray[np.int64]]] = {c: [] for c in codes}
    for batch in table.batches((), list(codes)):
        for c in codes:
            parts[c].append(codes[c].of(batch[c]))
    read = {c: np.concatenate(p) if p else np.empty(0, np.int64) for c, p in parts.items()}
    if len(read[spec.label]) == 0:
        raise DataError(f"{spec.path}: must have rows; got none.")
    starts = _starts(spec, table, read)
    first = starts[:-1]
    classes, labels = _labels(spec, table, codes[spec.label].names, read[spec.label][first], first)
    splits = np.zeros(len(first), np.int8)
    if spec.split is not None:
        splits = _splits(spec, table, codes[spec.split].names, read[spec.split][first], first)
    groups = None
    if spec.group is not None:
        groups = read[spec.group][first]
        _must_be_there(table, groups, first, "group", spec.group)
        names = codes[spec.group].names
        for number, field in ((1, "validation_groups"), (2, "test_groups")):
            for group in getattr(spec, field):
                if group not in names:
                    raise DataError(f"data.{field}: must be groups of column {spec.group!r}; got {group!r}. "
                                    f"{nearest(group, names)}It has: {', '.join(sorted(names)[:20])}.")  # fmt: skip
                splits[groups == names.index(group)] = number
    splits[labels == len(classes)] = _LEFT_OUT
    return _Index(starts, labels, splits, groups, classes)


def _starts(spec: SeriesSpec, table: Table, read: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return each window's first row, and the number of rows."""
    num = len(read[spec.label])
    if spec.window is None:
        return np.arange(num + 1, dtype=np.int64)
    windows = read[spec.window]
    _must_be_there(table, windows, np.arange(num), "window", spec.window)
    first = np.flatnonzero(np.concatenate([[True], windows[1:] != windows[:-1]]))
    again = np.flatnonzero(np.bincount(windows[first]) > 1)
    if len(again):
        row = int(first[np.flatnonzero(windows[first] == again[0])[1]])
        raise DataError(f"{table.where(row)}: rows of one window must follow one another; this one's {spec.window} was seen "
                        "before. Sort the file by window and time.")  # fmt: skip
    lengths = np.diff(np.append(first, num))
    if len(set(lengths.tolist())) > 1:
        usual = int(np.bincount(lengths).argmax())
        at = int(np.flatnonzero(lengths != usual)[0])
        raise DataError(f"{table.where(int(first[at]))}: windows must have one length; this one has {lengths[at]} steps, most "
                        f"have {usual}. Cut or fill windows to one length.")  # fmt: skip
    for column in (spec.label, spec.group, spec.split):
        if column is None:
            continue
        changes = read[column] != np.repeat(read[column][first], lengths)
        if changes.any():
            raise DataError(f"{table.where(int(np.argmax(changes)))}: {column} must be the same at every step of a window; it "
                            "changes here.")  # fmt: skip
    return np.append(first, num)


def _must_be_there(table: Table, codes: NDArray[np.int64], rows: NDArray[np.int64], field: str, column: str) -> None:
    if (codes < 0).any():
        raise DataError(f"{table.where(int(rows[np.argmax(codes < 0)]))}: {column} must name the {field}; got nothing. Fill or "
                        "drop the row.")  # fmt: skip


def _labels(
    spec: SeriesSpec, table: Table, names: list[str], codes: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return (class names, labels); a label that is to be left out is the number of classes."""
    if spec.classes is None:
        whole = all(n.lstrip("-").isdigit() for n in names)
        classes = sorted(names, key=int) if whole else sorted(names)
    else:
        classes = list(spec.classes)
    numbers = np.array([classes.index(n) if n in classes else len(classes) for n in names] + [-1], np.int64)
    labels = numbers[codes]  # code -1 is the last
    unlisted = labels == len(classes)
    if unlisted.any() and spec.unlisted == "error":
        at = int(np.argmax(unlisted))
        got = names[codes[at]]
        raise DataError(
            f"{table.where(int(rows[at]))}: label must be one of data.classes; got {got!r} ({int(unlisted.sum())} such windows). "
            f"{nearest(got, classes)}Add it to classes, or set unlisted: drop."
        )
    return classes, labels


def _splits(
    spec: SeriesSpec, table: Table, names: list[str], codes: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int8]:
    numbers = np.array([_SPLITS.get(n.lower(), -2) for n in names] + [-2], np.int8)
    splits = numbers[codes]
    if (splits == -2).any():
        at = int(np.argmax(splits == -2))
        got = names[codes[at]] if codes[at] >= 0 else None
        raise DataError(f"{table.where(int(rows[at]))}: {spec.split} must be train, validation or test; got {got!r}.")
    return splits


def _shape(spec: SeriesSpec, table: Table, columns: list[str], index: _Index) -> tuple[int, int]:
    """Return (T, V) of a window, constants included."""
    lists = [table.is_list(c) for c in columns]
    if any(lists) and (not all(lists) or spec.window is not None):
        raise DataError(f"{spec.path}: data.values must be columns of lists, or columns of numbers; got both, or lists with a "
                        "window column.")  # fmt: skip
    if spec.window is not None:
        return int(index.starts[1] - index.starts[0]), len(columns) + len(spec.constants)
    first = next(table.batches(columns))
    num = sum(1 if first[c].ndim == 1 else first[c].shape[1] for c in columns)
    beside = spec.variables * (len(columns) if lists[0] else 1)
    if num % beside or num == 0:
        raise DataError(
            f"{spec.path}: {num} values a row must be a multiple of the {beside} variables. Check data.variables."
        )
    return num // beside, beside + len(spec.constants)


@dataclass(frozen=True)
class _Reader:
    """Reads the windows of a split."""

    spec: SeriesSpec
    table: Table
    columns: list[str]
    factors: list[str]
    index: _Index
    shape: tuple[int, int]

    def of(self, split: int) -> Callable[[], Iterator[Chunk]]:
        return lambda: (c for c in (self._chunk(*w, split) for w in self._windows()) if len(c.samples))

    def _windows(self) -> Iterator[tuple[int, Batch]]:
        """Yield (number of the first window, columns of whole windows): batches are joined where they cut one."""
        columns = list(dict.fromkeys([*self.columns, *self.factors, *([self.spec.weight] if self.spec.weight else [])]))
        length = int(self.index.starts[1] - self.index.starts[0])
        number, rest = 0, dict[str, NDArray[np.float64]]()
        for batch in self.table.batches(columns):
            if rest:
                batch = {c: np.concatenate([rest[c], batch[c]]) for c in columns}
            rows = len(batch[columns[0]])
            whole = rows // length
            yield number, {c: batch[c][: whole * length] for c in columns}
            rest = {c: batch[c][whole * length :] for c in columns} if rows % length else {}
            number += whole

    def _chunk(self, start: int, batch: Batch, split: int) -> Chunk:
        steps, variables = self.shape
        length = int(self.index.starts[1] - self.index.starts[0])
        num = len(batch[self.columns[0]]) // length
        mine = np.flatnonzero(self.index.splits[start : start + num] == split)
        samples = np.empty((len(mine), steps, variables), np.float32)
        made = variables - len(self.spec.constants)
        samples[:, :, :made] = self._values(batch, num)[mine]
        firsts = {
            c: batch[c][::length][mine] for c in (*self.factors, *([self.spec.weight] if self.spec.weight else []))
        }
        rows = self.index.starts[start + mine]
        for i, name in enumerate(self.spec.constants):
            samples[:, :, made + i] = self._constant(name, firsts, rows)[:, None]
        groups = self.index.groups
        return Chunk(
            samples,
            self.index.labels[start + mine],
            [self.table.where(int(row)) for row in rows],
            weights=firsts[self.spec.weight].astype(np.float32) if self.spec.weight else None,
            groups=None if groups is None else groups[start + mine],
        )

    def _values(self, batch: Batch, num: int) -> NDArray[np.float32]:
        """Return [num, T, variables without constants]."""
        parts = [batch[c] for c in self.columns]
        if self.spec.window is not None:
            return np.stack(parts, axis=1).reshape(num, self.shape[0], len(parts)).astype(np.float32)
        if parts[0].ndim == 1:
            return np.stack(parts, axis=1).reshape(num, self.shape[0], -1).astype(np.float32)
        return np.concatenate([p.reshape(num, self.shape[0], -1) for p in parts], axis=2)

    def _constant(self, name: str, firsts: Batch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if "/" not in name:
            return firsts[name]
        over, under = name.split("/", 1)
        for part in (over, under):
            bad = ~(firsts[part] > 0)
            if bad.any():
                at = int(np.argmax(bad))
                raise DataError(f"{self.table.where(int(rows[at]))}: {part} must be above 0 for the ratio {name!r}; got "
                                f"{firsts[part][at]:g}. Mend or drop the row.")  # fmt: skip
        out: NDArray[np.float64] = np.log(firsts[over] / firsts[under])
        return out
