"""Rows of a table of text: CSV, JSON Lines or parquet, one at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.core.errors import DataError, nearest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def columns_of(path: Path) -> list[str]:
    """Return the names of a table's columns, in its order; of JSON Lines, those of its first row.

    Raises:
        DataError: no such format, no rows, or a file that is not whole.
    """
    kind = _format(path)
    if kind == "parquet":
        return list(_parquet(path).schema_arrow.names)
    if kind == "csv":
        with _reading(path) as file:
            return list(next(csv.reader(file, delimiter=_delimiter(path)), []))
    for _, row in _json_rows(path):
        return list(row)
    raise DataError(f"{path}: must have rows; got none.")


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield (a row's name, its values of `columns`, None where there is none).

    Raises:
        DataError: a column is not there, or a row cannot be read; names it.
    """
    names = columns_of(path)
    for column in columns:
        if column not in names:
            raise DataError(
                f"{path}: must have a column {column!r}. {nearest(column, names)}It has: {', '.join(names)}."
            )
    kind = _format(path)
    if kind == "parquet":
        yield from _parquet_rows(path, columns)
    elif kind == "csv":
        yield from _csv_rows(path, names, columns)
    else:
        for name, row in _json_rows(path):
            missing = [c for c in columns if c not in row]
            if missing:
                raise DataError(f"{name}: must have {missing[0]!r} as the first row has; it has: {', '.join(row)}.")
            yield name, [row[c] for c in columns]


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: must be one of {', '.join(SUFFIXES)}; got {suffix or 'no suffix'}. Convert it first.")
    return {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}.get(suffix, "json")


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: must be UTF-8; got {err.reason} at byte {err.start}. Save it as UTF-8.") from err
    except csv.Error as err:
        raise DataError(f"{path}: must be a whole CSV file; got {err}.") from err
    except OSError as err:
        raise DataError(f"{path}: must be a file that can be read; got {err.strerror}.") from err


def _csv_rows(path: Path, names: list[str], columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    places = [names.index(c) for c in columns]
    with _reading(path) as file:
        reader = csv.reader(file, delimiter=_delimiter(path))
        next(reader, None)
        line = reader.line_num + 1
        for values in reader:
            if values:  # a blank line is no row
                if len(values) != len(names):
                    raise DataError(f"{path.name} line {line}: must have {len(names)} values as the heading has; got "
                                    f"{len(values)}. Put text with a {_delimiter(path)!r} in it between quotes.")  # fmt: skip
                yield f"{path.name} line {line}", [values[i] if values[i] != "" else None for i in places]
            line = reader.line_num + 1


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _reading(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as err:
                raise DataError(f"{path.name} line {number}: must be one JSON object; got {err}.") from err
            if not isinstance(row, dict):
                raise DataError(f"{path.name} line {number}: must be a JSON object; got {type(row).__name__}.")
            yield f"{path.name} line {number}", row


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: must be a whole parquet file; got {err}.") from err


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    import pyarrow as pa

    start = 0
    try:
        for batch in _parquet(path).iter_batches(batch_size=2048, columns=list(dict.fromkeys(columns))):
            values = [batch.column(c).to_pylist() for c in columns]
            for i, row in enumerate(zip(*values, strict=True)):
                yield f"{path.name} row {start + i}", list(row)
            start += batch.num_rows
    except (pa.ArrowException, OSError) as err:
        raise DataError(f"{path}: must be a whole parquet file; got {err}.") from err
