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


def verdict_table(results: dict[str, Any]) -> Table:
    """Return teacher, student and controls beside one another, for the terminal."""
    from rich import box
    from rich.table import Table

    from potstill.report._say import STYLES, rows

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=results["name"], title_justify="left")
    for column in ("", "accuracy, 95 %", "params", "MACs", "file", "latency"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    table.add_column("student over it, points")
    for row in rows(results):
        style = STYLES.get(row["verdict"].replace("-", " "), "")
        gain = f"[{style}]{row['gain']}[/]" if style else row["gain"].replace("[", r"\[")
        gain = gain if not style else f"[{style}]" + row["gain"].replace("[", r"\[") + "[/]"
        name = f"[bold]{row['name']}[/]" if not row["control"] else f"control: {row['name']}"
        table.add_row(name, row["accuracy"].replace("[", r"\["), row["params"], row["macs"], row["size"], row["latency"], gain)
    return table


__all__ = ["build", "verdict_table"]
