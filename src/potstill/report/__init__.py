"""A run folder -> one self-contained HTML page, a model card, and the verdict table of the terminal.

Reads `results.json` and the pictures beside it; computes no figure of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core import atomic

if TYPE_CHECKING:
    from rich.table import Table


def build(run: Path, samples: bool = True) -> Path:
    """Write `report.html` and `model_card.md` into a run folder; the same results give the same bytes.

    Args:
        run: folder with results.json.
        samples: show pictures of test samples.

    Returns:
        The page.
    """
    from potstill.report._page import card, page

    results = atomic.read_json(run / "results.json")
    out = run / "report.html"
    atomic.write_bytes(run / "model_card.md", card(results).encode())
    atomic.write_bytes(out, page(results, run, samples=samples).encode())
    return out


def verdict_table(results: dict[str, Any], width: int = 80) -> Table:
    """Return teacher, student and controls beside one another, for a terminal of `width` characters."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from potstill.report._say import STYLES, rows

    extra = {"params": "params"}
    if width >= 110:
        extra |= {"macs": "MACs", "size": "file", "latency": "latency"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=escape(results["name"]), title_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("accuracy, 95 %", *extra.values()):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("student over it, points")
    for row in rows(results):
        style = STYLES.get(row["verdict"].replace("-", " "), "default")
        name = f"  {row['name']}" if row["control"] else f"[bold]{row['name']}[/]"
        cells = [escape(row[k]) for k in ("accuracy", *extra)]
        table.add_row(name, *cells, f"[{style}]{escape(row['gain'])}[/]" if row["gain"] else "")
    return table


__all__ = ["build", "verdict_table"]
