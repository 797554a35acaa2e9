"""Windows cut from one long table over time, with what follows as targets. Shapes: N rows of the file, n windows, T steps,
V variables, H horizon, W variables that are forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.core.errors import DataError
from potstill.core.samples import SampleKind
from potstill.core.spec import InputPath
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._columns import Table

_ROWS = 1024
_SHARES = (0.7, 0.1, 0.2)
"""Of the rows, to train, validation and test, where `lengths` does not say."""

Length = Annotated[int, Field(ge=1)]


@registry.register
class ForecastSpec(DataSpec):
    """Windows of one long CSV, parquet or .npz table, a row a time step, each with the values that follow as its targets.

    Windows overlap: those whose targets begin within one horizon are one group, so that intervals do not count them singly.
    """

    kind: Literal["forecast"] = "forecast"
    path: InputPath
    """The file: .parquet, .csv, .csv.gz, or .npz with one array a column."""
    lookback: int = Field(ge=1, examples=[8])
    """Steps that a model sees."""
    horizon: int = Field(ge=1, examples=[4])
    """Steps that it forecasts, the next ones."""
    time: str | None = None
    """Column with the time of each step, text as 2016-07-01 00:00:00 or a number; checked to rise in equal steps."""
    values: tuple[str, ...] | None = None
    """Columns that a model sees; None: every column of numbers but the time."""
    targets: tuple[str, ...] | None = None
    """Those of them that it forecasts; None: all."""
    lengths: tuple[Length, Length, Length] | None = None
    """Rows of train, validation and test, from the first row on; later rows are left out. None: 70, 10 and 20 %. Windows of
    validation and test look back into the rows before theirs, and never is a target of theirs in training."""
    stride: int = Field(default=1, ge=1)
    """Steps between the beginnings of two training windows; validation and test have every window."""
    standardise: bool = True
    """Subtract each column's mean and divide by its standard deviation, both of the training rows; then errors are those of
    standardised data. False leaves values and errors in their own units."""

    @model_validator(mode="after")
    def _own_split(self) -> ForecastSpec:
        for name in ("validation", "test"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} must be left out of a forecast: rows are split by time, in lengths")
        return self

    def gives(self) -> SampleKind:
        return "series"

    def open(self) -> Source:
        table = Table(self.path)
        names = self._columns(table)
        read, times = _read(table, names, self.time)
        if self.time is not None:
            _evenly(table, times, self.time)
        lengths = self.lengths or _by_share(len(read))
        _long_enough(self, len(read), lengths)
        values = _standardised(table, names, read, lengths[0]) if self.standardise else read.astype(np.float32)
        picked = [names.index(t) for t in self.targets or names]
        bounds = (0, lengths[0], sum(lengths[:2]), sum(lengths))
        readers = {}
        for number, split in enumerate(("train", "validation", "test")):
            # Of the first step that is forecast: in the split's own rows, with a whole window before and after.
            first = max(bounds[number], self.lookback)
            starts = np.arange(first, bounds[number + 1] - self.horizon + 1, self.stride if number == 0 else 1)
            readers[split] = SplitReader(len(starts), self._reader(table, values, times, starts, picked))
        return Source(
            readers, (self.lookback, len(names)), [names[i] for i in picked], kind="series",
            target_shape=(self.horizon, len(picked)),
        )  # fmt: skip

    def _columns(self, table: Table) -> list[str]:
        """Return the columns that a model sees."""
        if self.time is not None:
            table.must_have([self.time], "time")
        if self.values is not None:
            table.must_have(self.values, "values")
        names = [n for n in self.values or table.numeric() if n != self.time]
        if not names:
            raise DataError(f"{self.path}: must have columns of numbers; it has: {', '.join(table.names[:12])}.")
        for target in self.targets or ():
            if target not in names:
                raise DataError(f"data.targets: must be among the values {names}; got {target!r}.")
        return names

    def _reader(
        self,
        table: Table,
        values_NV: NDArray[np.float32],
        times: list[str],
        starts: NDArray[np.int64],
        picked: list[int],
    ) -> Callable[[], Iterator[Chunk]]:
        def chunks() -> Iterator[Chunk]:
            before, after = np.arange(-self.lookback, 0), np.arange(self.horizon)
            for low in range(0, len(starts), _ROWS):
                part = starts[low : low + _ROWS]
                targets = values_NV[part[:, None] + after][:, :, picked]
                names = [
                    f"{table.path.name} forecast from {times[i] if times else table.where(i)}" for i in part.tolist()
                ]
                samples = values_NV[part[:, None] + before]
                yield Chunk(
                    samples,
                    np.zeros(len(part), np.int64),
                    names,
                    targets=np.ascontiguousarray(targets),
                    groups=part // self.horizon,
                )

        return chunks


def _read(table: Table, names: list[str], time: str | None) -> tuple[NDArray[np.float64], list[str]]:
    """Return (values [N, V], the text of each time or none)."""
    parts, times, start = [], list[str](), 0
    for batch in table.batches(names, [time] if time else []):
        part = np.stack([batch[n] for n in names], axis=1)
        bad = ~np.isfinite(part)
        if part.ndim != 2:
            raise DataError(f"{table.path}: values must be one number a row; {names[0]} holds lists. Use kind series.")
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DataError(f"{table.where(start + int(row))}: {names[column]} must be a finite number; got {part[row, column]}. "
                            "Fill the gap first, so that nobody guesses it.")  # fmt: skip
        parts.append(part)
        times += [str(t) for t in batch[time]] if time else []
        start += len(part)
    return (np.concatenate(parts) if parts else np.empty((0, len(names)))), times


def _evenly(table: Table, times: list[str], column: str) -> None:
    """Raise DataError, naming the line, unless times rise in equal steps."""
    try:
        moments: NDArray[Any] = np.array(times, np.float64)
    except ValueError:
        try:
            moments = np.array(times, "datetime64[ms]").astype(np.int64).astype(np.float64)
        except ValueError as err:
            raise DataError(
                f"{table.path}: {column} must be times such as 2016-07-01 00:00:00, or numbers; got {err}."
            ) from err
    gaps = np.diff(moments)
    if len(gaps) == 0:
        return
    usual = float(np.median(gaps))
    wrong = ~(np.abs(gaps - usual) <= 1e-6 * abs(usual)) | (gaps <= 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{table.where(at + 1)}: {column} must rise in equal steps; got {times[at + 1]} after {times[at]} "
                        f"({int(wrong.sum())} such places). Fill the gaps, or sort the file.")  # fmt: skip


def _by_share(num: int) -> tuple[int, int, int]:
    train, test = int(num * _SHARES[0]), int(num * _SHARES[2])
    return train, num - train - test, test


def _long_enough(spec: ForecastSpec, num: int, lengths: tuple[int, int, int]) -> None:
    if sum(lengths) > num:
        raise DataError(f"{spec.path}: data.lengths must add up to at most the file's {num} rows; got {list(lengths)}.")
    least = spec.lookback + spec.horizon
    if lengths[0] < least or min(lengths[1:]) < spec.horizon:
        raise DataError(
            f"{spec.path}: train must have at least lookback + horizon = {least} rows, validation and test at least the horizon "
            f"of {spec.horizon}; got {list(lengths)}. Shorten lookback or horizon, or give more rows."
        )


def _standardised(table: Table, names: list[str], values: NDArray[np.float64], num_train: int) -> NDArray[np.float32]:
    mean, std = values[:num_train].mean(axis=0), values[:num_train].std(axis=0)
    still = np.flatnonzero(std == 0)
    if len(still):
        raise DataError(f"{table.path}: {names[int(still[0])]} must vary in the training rows; it is {mean[still[0]]:g} in all "
                        "of them. Leave it out of data.values.")  # fmt: skip
    out: NDArray[np.float32] = ((values - mean) / std).astype(np.float32)
    return out
