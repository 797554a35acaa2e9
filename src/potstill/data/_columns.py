"""Columns of a table, batch by batch: CSV, parquet or an .npz of arrays. Shapes: n rows of a batch, L numbers of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, nearest

Batch = dict[str, NDArray[Any]]
"""Of each column: numbers float64 [n] with NaN where there is none, lists float32 [n, L], texts object [n] with None."""

_ROWS = 2048
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".npz")


class Table:
    """A file with named columns.

    Args:
        path: its suffix says what it is.

    Raises:
        DataError: no such format, or a file that is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        name = path.name.lower()
        if not name.endswith(SUFFIXES):
            raise DataError(
                f"{path}: must be one of {', '.join(SUFFIXES)}; got {path.suffix or 'no suffix'}. Convert it first."
            )
        self.csv = not name.endswith((".parquet", ".npz"))
        self._arrays: Batch | None = _npz(path) if name.endswith(".npz") else None
        self._names: list[str] | None = None
        self._file = None if self.csv or self._arrays is not None else _parquet(path)

    @property
    def names(self) -> list[str]:
        """The columns, in the file's order."""
        if self._arrays is not None:
            return list(self._arrays)
        if self._file is not None:
            return list(self._file.schema_arrow.names)
        if self._names is None:
            self._names = _csv_names(self.path)
        return self._names

    def must_have(self, columns: Sequence[str], field: str) -> None:
        """Raise DataError unless all are there; names the field that asks, and the nearest column."""
        names = self.names
        for column in columns:
            if column not in names:
                raise DataError(f"{self.path}: must have a column {column!r}, for data.{field}. {nearest(column, names)}It has: "
                                f"{_few(names)}.")  # fmt: skip

    def is_list(self, column: str) -> bool:
        """Return whether a column holds several numbers a row."""
        if self._arrays is not None:
            return self._arrays[column].ndim > 1
        if self._file is None:
            return False
        import pyarrow.types as kinds

        kind = self._file.schema_arrow.field(column).type
        return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))

    def numeric(self) -> list[str]:
        """Return the columns that hold one number a row; of a CSV, those whose first rows do."""
        if self._arrays is not None:
            return [n for n, a in self._arrays.items() if a.ndim == 1 and a.dtype.kind in "iuf"]
        if self._file is not None:
            import pyarrow.types as kinds

            fields = list(self._file.schema_arrow)
            return [f.name for f in fields if kinds.is_integer(f.type) or kinds.is_floating(f.type)]
        first = next(self.batches((), self.names), {})
        return [n for n, column in first.items() if all(v is None or _is_float(v) for v in column)]

    def where(self, row: int) -> str:
        """Return a row's place in the file, for names and errors."""
        return f"{self.path.name} line {row + 2}" if self.csv else f"{self.path.name} row {row}"

    def batches(self, values: Sequence[str], texts: Sequence[str] = ()) -> Iterator[Batch]:
        """Yield the columns, in order, up to 2,048 rows at once.

        Args:
            values: columns of numbers, or of lists of them.
            texts: columns read as text; numbers become their shortest text.

        Raises:
            DataError: a value is no number, or lists differ in length; names the row.
        """
        if self._arrays is not None:
            yield from self._slices(values, texts)
            return
        start = 0
        for batch in self._csv(values, texts) if self.csv else self._parquet_batches([*values, *texts]):
            for low in range(0, batch.num_rows, _ROWS):
                part = batch.slice(low, _ROWS)
                found = {c: self._numbers(part.column(c), c, start + low) for c in values}
                found |= {c: _texts(part.column(c)) for c in texts}
                yield found
            start += batch.num_rows

    def _slices(self, values: Sequence[str], texts: Sequence[str]) -> Iterator[Batch]:
        assert self._arrays is not None
        used = {c: self._arrays[c] for c in (*values, *texts)}
        lengths = {c: len(a) for c, a in used.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{self.path}: arrays must be as long as one another; got {lengths}.")
        for column in values:
            if used[column].dtype.kind not in "iufb":
                raise DataError(f"{self.path}: {column} must be an array of numbers; got {used[column].dtype}.")
        for start in range(0, next(iter(lengths.values()), 0), _ROWS):
            part = slice(start, start + _ROWS)
            found: Batch = {}
            for c in values:
                array = used[c][part]
                found[c] = (
                    array.astype(np.float64) if array.ndim == 1 else array.reshape(len(array), -1).astype(np.float32)
                )
            yield found | {c: np.array([str(v) for v in used[c][part].tolist()], object) for c in texts}

    def _csv(self, values: Sequence[str], texts: Sequence[str]) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv

        types = dict.fromkeys(values, pa.float64()) | dict.fromkeys(texts, pa.string())
        convert = csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=["", "NA", "null", "NULL"],
            strings_can_be_null=True,
        )
        try:
            yield from csv.open_csv(self.path, csv.ReadOptions(use_threads=False), convert_options=convert)
        except (pa.ArrowException, OSError) as err:
            text = str(err).replace("double", "a number")
            raise DataError(
                f"{self.path}: must be a whole CSV file with a heading; got {text}. Mend or drop that row."
            ) from err

    def _parquet_batches(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        assert self._file is not None
        try:
            yield from self._file.iter_batches(batch_size=_ROWS, columns=columns)
        except (pa.ArrowException, OSError) as err:
            raise DataError(f"{self.path}: must be a whole parquet file; got {err}.") from err

    def _numbers(self, column: Any, name: str, start: int) -> NDArray[Any]:
        import pyarrow as pa
        import pyarrow.types as kinds

        kind = column.type
        if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
            return self._lists(column, name, start)
        try:
            out: NDArray[Any] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowException as err:
            raise DataError(f"{self.where(start)}: {name} must hold numbers; got {err}. Name another column.") from err
        return out

    def _lists(self, column: Any, name: str, start: int) -> NDArray[Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if column.null_count:
            row = start + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"{self.where(row)}: {name} must hold a list of numbers; got nothing. Fill or drop the row."
            )
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if len(set(lengths.tolist())) > 1:
            row = int(np.flatnonzero(lengths != lengths[0])[0])
            raise DataError(f"{self.where(start + row)}: {name} must be as long in every row; got {lengths[row]} numbers, and "
                            f"{lengths[0]} in row {start}. Cut or fill windows to one length.")  # fmt: skip
        try:
            flat = column.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException as err:
            raise DataError(f"{self.where(start)}: {name} must hold lists of numbers; got {err}.") from err
        out: NDArray[Any] = np.asarray(flat, np.float32).reshape(len(column), -1)
        return out


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])} and {len(names) - 10} more"


def _texts(column: Any) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.types as kinds

    if not (kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        column = column.cast(pa.string())
    return np.array(column.to_pylist(), object)


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: must be a whole parquet file; got {err}.") from err


def _csv_names(path: Path) -> list[str]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        with csv.open_csv(path, csv.ReadOptions(use_threads=False)) as reader:
            names: list[str] = reader.schema.names
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: must be a whole CSV file with a heading; got {err}.") from err
    return names


def _npz(path: Path) -> Batch:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as err:  # zipfile, zlib, ast, tokenize and NumPy each have their own
        raise DataError(f"{path}: must be a whole .npz of plain arrays; got {type(err).__name__}: {err}.") from err
