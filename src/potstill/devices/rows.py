"""Published latencies: calibration.csv, a row a measurement, by others, each with its source. None was measured by us.

Facts and figures compiled from public sources (results of MLPerf Tiny, READMEs and benchmark pages of the runtimes); the column
`source` names each. `layers` and `activations` of ncnn's rows were counted from ncnn's own .param files. `skip` says why a row is no
calibration. scripts/make_devices.py made the file.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from potstill.devices.forms import COUNTS

FILE = Path(__file__).parent / "calibration.csv"


@dataclass(frozen=True)
class Row:
    """One published latency."""

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
def rows() -> tuple[Row, ...]:
    """Return every row, the skipped ones too."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(record) for record in csv.DictReader(file))


@functools.cache
def groups() -> dict[tuple[str, str, str, str, str], tuple[Row, ...]]:
    """Return group -> its rows, the skipped ones too."""
    out: dict[tuple[str, str, str, str, str], list[Row]] = {}
    for row in rows():
        out.setdefault(row.group, []).append(row)
    return {group: tuple(found) for group, found in out.items()}


def _row(record: dict[str, str]) -> Row:
    return Row(
        record["id"], record["board"], record["runtime"], record["version"], record["threads"], record["dtype"],
        f"{record['model']}|{record['input']}", {name: _number(record[name]) for name in COUNTS},
        float(record["latency_ms"]), _number(record["energy_uj"]), record["source"], record["skip"],
    )  # fmt: skip


def _number(text: str) -> float | None:
    return float(text) if text else None
