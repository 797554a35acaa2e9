"""Latencies: calibration.csv, a row a measurement, published by others, each with its source; none was measured by us. And tables of one's
own in the same form, which `potstill devices measure` writes beside a profile.

Facts and figures compiled from public sources (results of MLPerf Tiny, READMEs and benchmark pages of the runtimes); the column
`source` names each. `layers` and `activations` of ncnn's rows were counted from ncnn's own .param files. `skip` says why a row is no
calibration. scripts/make_devices.py made the file.
"""

from __future__ import annotations

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.core import atomic
from potstill.core.errors import DeviceError
from potstill.devices.forms import COUNTS

FILE = Path(__file__).parent / "calibration.csv"
MEASURED = "measured on the device by potstill devices measure"
"""Opens the source of rows that are one's own."""
_COLUMNS = (
    "id",
    "board",
    "runtime",
    "version",
    "threads",
    "dtype",
    "model",
    "input",
    *COUNTS,
    "latency_ms",
    "energy_uj",
    "skip",
    "source",
)
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Row:
    """One latency that was measured."""

    id: str
    board: str
    runtime: str
    version: str
    """Empty where the source does not say."""
    threads: str
    """Number, `0` on an accelerator, empty where the source does not say."""
    dtype: str
    model: str
    """With its input's size: what is held out together."""
    counts: Mapping[str, float | None]
    """Of COUNTS; None where it is not known."""
    latency_ms: float
    energy_uj: float | None
    """Of one inference, where it was measured."""
    source: str
    skip: str = ""
    """Why it is no calibration; empty: it is."""

    @property
    def group(self) -> tuple[str, str, str, str, str]:
        """(board, runtime, version, dtype, threads): rows of one group are fitted together."""
        return (self.board, self.runtime, self.version, self.dtype, self.threads)


@functools.cache
def rows(file: Path = FILE) -> tuple[Row, ...]:
    """Return every row of a table, the skipped ones too. Raises DeviceError where one's own is no such table."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        text = file.read_bytes().decode()
        read = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(read.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"the columns {', '.join(map(str, read.fieldnames or ())) or 'none'}")
        if not text.endswith("\n"):
            raise ValueError("a last line that is cut")
        return tuple(_row(record) for record in read)
    except OSError as err:
        raise DeviceError(f"{file}: must be a table of latencies that can be read; got {err.strerror}.") from err
    except (ValueError, TypeError, csv.Error) as err:
        raise DeviceError(
            f"{file}: must be a table of latencies with the columns {', '.join(_COLUMNS)}; got {str(err)[:300]}. Measure it "
            "again: potstill devices measure"
        ) from err


@functools.cache
def groups(file: Path = FILE) -> dict[tuple[str, str, str, str, str], tuple[Row, ...]]:
    """Return group -> its rows, the skipped ones too. Raises as `rows`."""
    out: dict[tuple[str, str, str, str, str], list[Row]] = {}
    for row in rows(file):
        out.setdefault(row.group, []).append(row)
    return {group: tuple(found) for group, found in out.items()}


def write_rows(file: Path, made: Sequence[Row]) -> None:
    """Write a table of one's own."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in made:
        model, _, given = row.model.partition("|")
        counts = ["" if row.counts[name] is None else f"{row.counts[name]:.0f}" for name in COUNTS]
        table.writerow(
            [
                row.id,
                *row.group[:3],
                row.threads,
                row.dtype,
                model,
                given,
                *counts,
                f"{row.latency_ms:.6g}",
                "",
                row.skip,
                row.source,
            ]
        )
    atomic.write_bytes(file, text.getvalue().encode())


def _row(record: dict[str, str]) -> Row:
    if None in record or None in record.values():
        raise ValueError(f"a row of another length, {record['id']!r}")
    latency = float(record["latency_ms"])
    if not 0 < latency < math.inf:
        raise ValueError(f"latency_ms={record['latency_ms']!r} in row {record['id']!r}")
    return Row(
        record["id"], record["board"], record["runtime"], record["version"], record["threads"], record["dtype"],
        f"{record['model']}|{record['input']}", {name: _number(record[name]) for name in COUNTS},
        latency, _number(record["energy_uj"]), record["source"], record["skip"],
    )  # fmt: skip


def _number(text: str) -> float | None:
    if not text:
        return None
    found = float(text)
    if not 0 <= found < math.inf:
        raise ValueError(f"the number {text!r}")
    return found
