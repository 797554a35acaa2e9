"""Tables and lists on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core.errors import PotstillError, nearest
from potstill.core.spec import Registry
from potstill.core.units import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from potstill.pipeline.cache import Entry
    from potstill.pipeline.plan import Plan

FAMILIES = {
    "objectives": "potstill.objectives:registry",
    "models": "potstill.models:registry",
    "data": "potstill.data:registry",
    "tasks": "potstill.tasks:registry",
    "codecs": "potstill.labels.codecs:registry",
    "stages": "potstill.stages:registry",
    "steps": "potstill.stages:steps",
    "teachers": "potstill.teachers:registry",
    "exporters": "potstill.exporters:registry",
    "schedules": "potstill.schedules:registry",
    "augmentations": "potstill.data.augment:registry",
}


def print_families(*, as_json: bool) -> None:
    """Print every family with its kinds."""
    found = {family: _registry(family).kinds() for family in FAMILIES}
    if as_json:
        print(json.dumps(found))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("family", no_wrap=True, style="bold")
    table.add_column("kinds")
    for family, kinds in found.items():
        table.add_row(family, ", ".join(kinds))
    console = Console()
    console.print(table)
    console.print("What each is: potstill list models", highlight=False)


def _registry(family: str) -> Registry[Any]:
    if family not in FAMILIES:
        raise PotstillError(
            f"list: must be a family there is; got {family!r}. {nearest(family, FAMILIES)}Allowed: {', '.join(FAMILIES)}"
        )
    module, _, name = FAMILIES[family].partition(":")
    registry: Registry[Any] = getattr(import_module(module), name)
    return registry


def print_kinds(family: str, *, as_json: bool) -> None:
    """Print kind, first line of its description, and its reference where it has one."""
    rows = []
    for kind, spec in _registry(family).items():
        summary = (spec.__doc__ or "").strip().split("\n")[0]
        rows.append({"kind": kind, "summary": summary, "reference": getattr(spec, "reference", "")})
    if as_json:
        print(json.dumps(rows))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(family, no_wrap=True, style="bold")
    table.add_column("what it is")
    if any(r["reference"] for r in rows):
        table.add_column("reference")
    for row in rows:
        table.add_row(*[row[k] for k in ("kind", "summary", "reference")][: len(table.columns)])
    Console().print(table)


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        print(json.dumps(plan.as_dict()))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    models = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "", "parameters", "MACs", "peak activations"):
        models.add_column(column, justify="right" if column in ("parameters", "MACs", "peak activations") else "left")
    for role, model in plan.models.items():
        if model is None:
            models.add_row(role, "known once it has run", "", "", "")
        else:
            models.add_row(role, model["name"], human_count(model["params"]), human_count(model["macs"]),
                           human_bytes(model["peak_activation_bytes"]))  # fmt: skip
    console.print(models)
    stages = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("stage", "state", "why", "time", "disk"):
        stages.add_column(column, justify="right" if column in ("time", "disk") else "left", overflow="fold")
    for line in plan.lines:
        stages.add_row(line.stage, line.state, line.why, human_seconds(line.seconds), human_bytes(line.bytes))
    console.print(stages)
    for where, pairs in plan.taps.items():
        how = "the teacher runs on each batch" if plan.features_mode == "live" else "the teacher's side from its store"
        console.print(f"{where} reads {say_pairs(pairs)}; {how}.", highlight=False)
    for cut in plan.cuts:
        console.print(cut.text(), highlight=False)
    for cost in plan.features:
        console.print(cost.text(), highlight=False)
    if plan.verdicts:
        from potstill.cli.verdicts import print_verdicts

        print_verdicts(plan.verdicts, planned=True)
    console.print(plan.summary(), highlight=False)


def say_pairs(pairs: list[dict[str, Any]]) -> str:
    """Return pairs of taps as such as "2 ↔ layer1 (1×1 convolution of 8 to 16 channels), 4 ↔ layer2"."""
    return ", ".join(
        f"{p['student']} ↔ {p['teacher']}" + (f" ({p['joined_by']})" if p["joined_by"] else "") for p in pairs
    )


def print_cache(root: Path, entries: list[Entry], *, as_json: bool) -> None:
    """Print what a cache holds."""
    if as_json:
        print(json.dumps([{"key": e.key, "name": e.name, "state": e.state, "bytes": e.bytes} for e in entries]))
        return
    now = time.time()
    for e in entries:
        age = human_seconds(now - e.used)
        print(f"{e.key[:12]}  {e.state:<9}  {human_bytes(e.bytes):>9}  used {age:>8} ago  {e.name}")
    print(f"{root}: {len(entries)} artifacts, {human_bytes(sum(e.bytes for e in entries))}")


def print_removed(entries: list[Entry]) -> None:
    """Print what was removed from a cache."""
    for e in entries:
        print(f"removed {e.key[:12]}  {e.state:<9}  {human_bytes(e.bytes):>9}  {e.name}")
    print(f"{len(entries)} removed, {human_bytes(sum(e.bytes for e in entries))} freed")


def print_facts_and_verdicts(
    facts: dict[str, Any], *, as_json: bool, say: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Print what was measured of a model, by `say` where it is given, and then the verdicts among it. Raises BudgetError as
    `stop_at_misfits`."""
    from potstill.cli.verdicts import print_verdicts, stop_at_misfits

    verdicts = facts.get("verdicts", [])
    if as_json:
        print(json.dumps(facts))
    else:
        (say or print_facts)({k: v for k, v in facts.items() if k != "verdicts"})
        print_verdicts(verdicts)
    stop_at_misfits(verdicts)


def print_facts(facts: dict[str, Any], indent: str = "") -> None:
    """Print nested facts, one a line."""
    for key, value in facts.items():
        name = f"{indent}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            print(f"{name}:")
            print_facts(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{name}:")
            for item in value:
                print(f"{indent}  " + ", ".join(f"{k} {_plain(v)}" for k, v in item.items()))
        else:
            print(f"{name}: {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
