"""A table of the terminal, with as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def fitted(make: Callable[[dict[str, str]], Table], columns: Sequence[tuple[str, str]], width: int) -> Table:
    """Return `make` of the most columns (key, heading) that `width` characters hold, of none where not even one fits."""
    from rich.console import Console

    wide = Console(width=1000)
    for num in range(len(columns), 0, -1):
        table = make(dict(columns[:num]))
        if wide.measure(table).maximum <= width:
            return table
    return make({})
