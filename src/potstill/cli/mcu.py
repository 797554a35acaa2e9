"""`export-c`, and `verify` on a microcontroller's core."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from potstill.core.errors import PotstillError
from potstill.core.units import human_bytes, human_count


def export_c(
    model: Annotated[Path, typer.Argument(help="A .tflite file that computes in int8.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty or of an earlier export.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
) -> None:
    """Write an int8 .tflite file as plain C for microcontrollers. With a static memory plan, golden vectors and a Makefile; what is not supported is refused whole."""
    from potstill.mcu.export import generate, write_folder

    try:
        data = model.read_bytes()
    except OSError as err:
        raise PotstillError(f"{model}: must be a .tflite file that can be read; got {err.strerror}.") from err
    made = generate(data, model.name)
    path = write_folder(made, out)
    if as_json:
        print(json.dumps(made.report))
        return
    report = made.report
    print(f"{path}: {len(report['operators'])} operators, {human_count(report['macs'])} MACs, arena {human_bytes(report['arena_bytes'])} "
          f"(no plan needs fewer than {human_bytes(report['arena_bound_bytes'])})")  # fmt: skip
    modelled = report["instructions_m4"]["value"]
    if modelled is not None:
        print(f"Modelled: {human_count(modelled)} instructions on a Cortex-M4")
    print(f"Check it here: make -C {out} check\nOn an emulated core: potstill verify {path} --device cortex-m4")


def verify_device_file(
    model: Path, device: str, recipe_path: Path | None, *, rows: int, scale: float, run_program: bool, as_json: bool
) -> None:
    """Verify generated C on an emulated core and print what it gives and takes, and the verdict where the recipe has a budget for this
    device. Raises BudgetError where it does not fit; after all was printed."""
    from potstill.cli.show import print_facts_and_verdicts
    from potstill.core.progress import Progress
    from potstill.pipeline.on_core import verify_device
    from potstill.recipe.load import load

    recipe = None if recipe_path is None else load(recipe_path)
    facts = verify_device(model, device, recipe, rows=rows, scale=scale, progress=Progress("auto"), trusted=run_program)
    print_facts_and_verdicts(facts, as_json=as_json, say=_print_core)


def _print_core(facts: dict[str, Any]) -> None:
    """Print what `verify_on_core` found: codes, a line for each figure, and then what this machine gave."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from potstill.cli.show import print_facts

    console, codes = Console(), facts["codes"]
    console.print(f"[bold]{escape(facts['device'])}[/]: every code is that of {escape(facts['oracle'])}, of {codes['rows_here']} rows here and "
                  f"{codes['rows_emulated']} on the emulated core ({codes['rows_are']})", highlight=False)  # fmt: skip
    flash, ram, ran, spent, took = (
        facts[k] for k in ("flash_bytes", "ram_bytes", "instructions", "cycles", "latency_ms")
    )
    arena = facts["arena_bytes"]
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    for column in ("figure", "value", "source", "more"):
        table.add_column(column, no_wrap=column != "more")
    rows = [
        ("flash", human_bytes(flash["value"]), flash["source"],
         f"code {human_bytes(flash['code'])}, weights {human_bytes(flash['weights'])}; of {human_bytes(flash['of'])}"),
        ("RAM", human_bytes(ram["value"]), ram["source"],
         f"static {human_bytes(ram['static'])}, stack {human_bytes(ram['stack'])}; of {human_bytes(ram['of'])}"),
        ("arena", human_bytes(arena["value"]), "planned", f"no plan needs fewer than {human_bytes(arena['least_possible'])}"),
        ("instructions", human_count(ran["value"]), ran["source"],
         f"{human_count(ran['least'])} to {human_count(ran['most'])}; {human_count(facts['macs'])} MACs"),
        ("cycles", _span(spent, human_count), spent["source"], spent["because"]),
        ("latency", _span(took, lambda ms: f"{ms:.3g}", " ms"), took["source"], took.get("because") or f"clock: {took['clock']}"),
    ]  # fmt: skip
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    print_facts({k: v for k, v in facts.items() if k == "host"})


def _span(found: dict[str, Any], say: Callable[[float], str], unit: str = "") -> str:
    return "" if found["low"] is None else f"{say(found['low'])} to {say(found['high'])}{unit}"
