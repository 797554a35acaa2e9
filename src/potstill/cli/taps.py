"""`taps`: what can be tapped in a recipe's two models, and what its objectives read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from potstill.cli.show import say_pairs
from potstill.core.errors import RecipeError

if TYPE_CHECKING:
    from potstill.pipeline.taps import TapReport
    from potstill.taps import Place


def print_taps(report: TapReport, *, as_json: bool) -> None:
    """Print every place with its shape and its partner; then what the recipe's objectives read.

    Raises:
        RecipeError: an objective's pairs are not possible; what is possible was printed first.
    """
    partners = {
        "student": {p.student.name: p.teacher.name for p in report.auto},
        "teacher": {p.teacher.name: p.student.name for p in report.auto},
    }
    models = {"student": report.student, "teacher": report.teacher}
    if as_json:
        found: dict[str, Any] = {
            who: None if places is None else [_record(p, partners[who]) for p in places]
            for who, places in models.items()
        }
        print(json.dumps({**found, "objectives": report.terms, "faults": report.faults}))
    else:
        _print_tables(models, partners)
        for where, pairs in report.terms.items():
            print(f"{where} reads {say_pairs(pairs)}")
    if report.faults:
        raise RecipeError(report.faults)


def _record(place: Place, partners: dict[str, str]) -> dict[str, Any]:
    return {
        "place": place.name,
        "shape": list(place.shape),
        "kind": place.kind,
        "auto": partners.get(place.name),
        "overwritten": place.overwritten,
    }


def _print_tables(models: dict[str, list[Place] | None], partners: dict[str, dict[str, str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for who, places in models.items():
        if places is None:
            console.print(f"The {who} is no torch module here: its outputs are all there is to read.", highlight=False)
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(who, no_wrap=True, style="bold")
        for column in ("shape of a row", "class", "auto"):
            table.add_column(column, overflow="fold")
        for place in places:
            mark = f"↔ {partners[who][place.name]}" if place.name in partners[who] else ""
            if place.attention:
                mark = "attention probabilities"
            if place.overwritten:
                mark = "written over in place: not to be read"
            table.add_row(place.name, "×".join(map(str, place.shape)), place.kind, mark)
        console.print(table)
