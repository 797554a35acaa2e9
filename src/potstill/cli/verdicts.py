"""Verdicts on devices, as `plan`, `run` and `verify` print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.core.errors import BudgetError
from potstill.devices import say
from potstill.devices.lines import Line, Verdict, line_of
from potstill.devices.profile import INSTRUCTIONS

COLOURS = {"fits": "green", "does not fit": "red", "unknown": "yellow"}
_SAYS = {"fits": "fits", "does not fit": "DOES NOT FIT", "unknown": "UNKNOWN whether it fits"}


def print_verdicts(verdicts: Sequence[Mapping[str, Any]], *, planned: bool = False) -> None:
    """Print a verdict on each device, as `verify.verdict` gives it: its lines, what they rest on, what would help.

    Args:
        verdicts: of one model or student.
        planned: whether nothing is trained yet.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    for found in verdicts:
        says = _SAYS[found["verdict"]] + (", before training" if planned and found["verdict"] == "fits" else "")
        console.print(
            f"\n[bold]{escape(found['device'])}, {escape(found['file'])}: [{COLOURS[found['verdict']]}]{says}[/][/]",
            highlight=False,
        )
        rests = [f"under {found['under']}"] if found["runtime"] else []
        rests += [f"cost of {found['rests_on']}"] if found["rests_on"] and found["cost"] else []
        if rests:
            console.print("; ".join(rests), highlight=False, markup=False, style="dim")
        print_lines(console, [line_of(line) for line in found["lines"]])
        if found["runtime"] and found["runtime"]["form"] == INSTRUCTIONS:
            print_reasons(console, [line_of(line) for line in found["lines"]])
        for text in filter(None, [*found["remedies"], found["elsewhere"]]):
            console.print(f"→ {text}", highlight=False, markup=False)


def stop_at_misfits(verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Raise BudgetError where a device does not take the student; all that was made stays."""
    found = [say.misfit(entry) for entry in verdicts if entry["verdict"] == "does not fit"]
    if found:
        raise BudgetError("\n".join(found))


def print_lines(console: Any, lines: Sequence[Line]) -> None:
    """Print the lines of a verdict, one below the other."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    for column in ("line", "verdict", "figure"):
        table.add_column(column, no_wrap=column != "figure")
    for line in lines:
        table.add_row(say.NAMES[line.name], _coloured(line.verdict), escape(say.against(line)))
    console.print(table)


def print_reasons(console: Any, lines: Sequence[Line]) -> None:
    """Print what modelled lines rest on, of a runtime of which no row says it."""
    for line in lines:
        if line.word == "modelled":
            console.print(f"{say.NAMES[line.name]}: {line.reason}", highlight=False, markup=False, style="dim")


def _coloured(verdict: Verdict | None) -> str:
    return "no limit" if verdict is None else f"[{COLOURS[verdict]}]{verdict}[/]"
