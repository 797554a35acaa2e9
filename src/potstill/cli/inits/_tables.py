"""Columns of a table by what they are probably for."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.core.errors import PotstillError
from potstill.data._columns import Table

LABEL = ("label", "labels", "class", "target", "activity", "category", "y")
GROUP = ("patient", "subject", "person", "participant", "speaker", "record", "user", "machine", "device", "group")
WINDOW = ("window", "window_id", "segment", "segment_id", "sample", "sample_id", "id")
TIME = ("date", "time", "timestamp", "datetime", "ds")
WEIGHT = ("weight", "weights")
SPLIT = ("split", "fold", "set", "subset")


def likely(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """Return the column whose name is the most usual one, whatever its case; None where none is."""
    for want in usual:
        for name in names:
            if name.lower() == want:
                return name
    return None


def needed(table: Table, usual: Sequence[str], what: str) -> str:
    """Return the likely column. Raises PotstillError, naming all columns, where there is none."""
    found = likely(table.names, usual)
    if found is None:
        raise PotstillError(
            f"--data {table.path}: must have a column for {what}, named one of {', '.join(usual)}; it has: "
            f"{', '.join(table.names[:20])}. Rename it, or write the recipe by hand: docs/reference.md."
        )
    return found


def numbers(table: Table, but: Sequence[str | None]) -> list[str]:
    """Return the columns with one number a row, without some."""
    return [n for n in table.numeric() if n not in but]
