"""A run folder -> one self-contained HTML page, a model card, and the verdict table of the terminal.

Reads `results.json` and the pictures beside it; computes no figure of its own.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core import atomic

if TYPE_CHECKING:
    from rich.table import Table


def build(run: Path, samples: bool = True) -> Path:
    """Write `report.html`, `model_card.md` and `model_card.json` into a run folder; the same results give the same bytes.

    Args:
        run: folder with results.json.
        samples: show pictures of test samples.

    Returns:
        The page.
    """
    from potstill.report import _card
    from potstill.report._page import card, page

    results = atomic.read_json(run / "results.json")
    out = run / "report.html"
    atomic.write_bytes(run / "model_card.md", card(results).encode())
    atomic.write_json(run / _card.NAME, _card.record(results))
    atomic.write_bytes(out, page(results, run, samples=samples).encode())
    return out


def verdict_table(results: dict[str, Any], width: int = 80) -> Table:
    """Return teacher, student and controls beside one another, with as many columns as `width` characters hold."""
    from potstill.report._fitted import fitted

    columns = [("params", "params"), ("macs", "MACs"), ("latency", "latency"), ("size", "file")]
    return fitted(partial(_table, results), columns, width)


def _table(results: dict[str, Any], columns: dict[str, str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from potstill.report._say import STYLES, metric, rows

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title=escape(results["name"]),
        title_justify="left",
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for column in (f"{metric(results)}, 95 %", *columns.values(), "gain over it"):
        table.add_column(column, justify="right", no_wrap=bool(columns))  # where nothing fits, better wrapped than cut
    table.add_column("verdict", no_wrap=True)
    for row in rows(results):
        name = f"  {escape(row['name'])}" if row["control"] else f"[bold]{row['name']}[/]"
        verdict = f"[{STYLES[row['verdict']]}]{row['verdict']}[/]" if row["verdict"] else ""
        table.add_row(name, *(escape(row[k]) for k in ("accuracy", *columns, "points")), verdict)
    return table


__all__ = ["build", "verdict_table"]
