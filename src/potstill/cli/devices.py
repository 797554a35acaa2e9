"""`devices` and `fit`: what is known of devices, and which of them can run a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.cli.verdicts import print_lines, print_reasons
from potstill.core.errors import BudgetError, PotstillError
from potstill.core.units import human_bytes, human_count
from potstill.devices import say
from potstill.devices.catalogue import names, profile_of
from potstill.devices.cost import Cost
from potstill.devices.judge import Judgement, Question, device_verdict, judge_all
from potstill.devices.latency import Fitted, fitted
from potstill.devices.lines import Budget
from potstill.devices.profile import DeviceProfile, Fact, Figure, LatencyOf, Power, Sourced
from potstill.devices.read import read_cost


def print_devices(*, as_json: bool) -> None:
    """Print every device with its memory, and what its models of latency were off by on models held out."""
    profiles = [profile_of(name) for name in names()]
    if as_json:
        print(json.dumps([_record(p) for p in profiles]))
        return
    table = _table("device", "class", "RAM", "flash", "modelled latency: runtime, mean error held out")
    for profile in profiles:
        flash = "" if profile.flash_bytes is None else _range(profile.flash_bytes)
        table.add_row(
            f"{profile.name}\n[dim]{profile.title}[/dim]",
            profile.kind,
            _range(profile.ram_bytes),
            flash,
            _models(profile),
        )
    _console().print(table)


def print_device(name: str) -> None:
    """Print every fact of a device with its status and source, then every runtime with what its latency rests on."""
    profile = profile_of(name)
    console = _console()
    console.print(f"{profile.name}: {profile.title}", highlight=False, style="bold")
    table = _table("fact", "value", "status", "source")
    for field, fact in profile.facts():
        source = fact.source + (f" ({fact.note})" if fact.note and fact.source else fact.note)
        table.add_row(field.replace("_", " "), _value(field, fact), fact.status.replace("_", " "), source)
    console.print(table)
    for board, what in profile.boards.items():
        console.print(f"board {board}: {what}", highlight=False)
    if profile.runtimes:
        table = _table("runtime", "dtype", "threads", "board", "latency from rows")
        for entry in profile.runtimes:
            table.add_row(entry.title, entry.dtype, entry.threads or "?", entry.board, _rests_on(entry))
        console.print(table)


def print_fit(
    models: Sequence[Path],
    devices: Sequence[str],
    budget: Budget,
    dtype: str | None,
    dims: dict[str, int],
    *,
    as_json: bool,
) -> None:
    """Print which devices can run each model, and what stops the others.

    Args:
        models: files.
        devices: names or files of profiles; none takes all.
        budget: limits beside the devices' own.
        dtype: int8 judges a float model as if it were in integers; None takes each as it is.
        dims: sizes of open dimensions by name.
        as_json: one object a model and device.

    Raises:
        BudgetError: a model does not fit a device that was named; after all was printed.
    """
    profiles = [profile_of(name) for name in devices or names()]
    costs = [read_cost(path, dims) for path in models]
    costs = [cost.as_int8() if dtype == "int8" else cost for cost in costs]
    misfits = []
    for cost in costs:
        judged = {p.name: judge_all(cost, Question(p, budget)) for p in profiles}
        misfits += [f"{name}: must fit its budget; got {cost.name}, which does not: {say.stops(found[0].lines)}"
                    for name, found in judged.items() if devices and device_verdict(found) == "does not fit"]  # fmt: skip
        if as_json:
            for found in judged.values():
                print(
                    json.dumps(
                        {
                            "verdict": device_verdict(found),
                            "cost": cost.as_dict(),
                            "runtimes": [j.as_dict() for j in found],
                        }
                    )
                )
        else:
            _print_judged(cost, judged)
    if misfits:
        raise BudgetError("\n".join(misfits))


def dims_of(texts: Sequence[str]) -> dict[str, int]:
    """Return {"length": 64} of ["length=64"]. Raises PotstillError where one is not so."""
    found = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not name or not size.isdigit() or int(size) == 0:
            raise PotstillError(f"--dim: must be NAME=N with N at least 1; got {text!r}.")
        found[name] = int(size)
    return found


def _print_judged(cost: Cost, judged: dict[str, list[Judgement]]) -> None:
    console = _console()
    by_class = ", ".join(f"{k} {human_count(v)}" for k, v in cost.macs_by_class.items())
    console.print(f"{cost.name} as {cost.dtype}: {human_count(cost.macs)} MACs ({by_class}), {human_count(cost.params)} parameters, "
                  f"weights {human_bytes(cost.weight_bytes)}, at least {human_bytes(cost.peak_activation_bytes)} of activations live at once",
                  highlight=False)  # fmt: skip
    if len(judged) == 1:
        _print_one(console, *judged.values())
    else:
        _print_all(console, judged)
    console.print("Every figure is modelled, none measured: [interval], ≥ where only a least is known, ? where it is unknown.", highlight=False, markup=False)  # fmt: skip


def _print_all(console: Any, judged: dict[str, list[Judgement]]) -> None:
    """Print each device under its best runtime."""
    table = _table(
        "device, runtime", "verdict", "latency, ms", "RAM", "flash", "energy, mJ", "what binds, or is not known"
    )
    for name, (j, *_) in judged.items():
        cells = {line.name: say.figure(line, unit=False) for line in j.lines}
        table.add_row(
            f"{name}\n[dim]{j.runtime}[/dim]", j.verdict, cells["latency_ms"], cells["peak_memory_bytes"], cells.get("flash_bytes", ""),
            cells["energy_mj"], "; ".join([say.stops(j.lines), *(f"→ {remedy}" for remedy in j.remedies)]),
        )  # fmt: skip
    console.print(table)


def _print_one(console: Any, found: list[Judgement]) -> None:
    """Print a device's best runtime with all its lines, then each other runtime in one."""
    best, *others = found
    console.print(f"\n{best.device}: {device_verdict(found)}", style="bold", highlight=False)
    console.print(f"under {best.runtime}", highlight=False)
    print_lines(console, best.lines)
    if best.entry is not None and best.entry.counted:
        print_reasons(console, best.lines)
    for remedy in best.remedies:
        console.print(f"→ {remedy}", highlight=False)
    if others:
        console.print("\nother runtimes", style="bold")
    for j in others:
        (time,) = (line for line in j.lines if line.name == "latency_ms")
        why = time.reason if time.word == "unknown" else ""
        text = "; ".join(filter(None, [f"{j.verdict}: {j.runtime}, {say.figure(time)}", why]))
        console.print(text, highlight=False, markup=False, no_wrap=True, overflow="ellipsis")


def _models(profile: DeviceProfile) -> str:
    """Return such as "ncnn float 9.9 to 17 %, int8 10 to 16 %", or why there is none."""
    errors: dict[str, list[float]] = {}
    for entry in profile.latency:
        found = fitted(entry)
        if isinstance(found, Fitted):
            errors.setdefault(f"{entry.runtime} {entry.dtype}", []).append(100 * found.mean)
    if errors:
        return "\n".join(f"{name} {_percent(values)}" for name, values in errors.items())
    return "unknown: measured by verify" if profile.kind == "host" else "unknown: too few published models"


def _percent(values: list[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _rests_on(entry: LatencyOf) -> str:
    if entry.counted:
        return "no rows: instructions modelled from the file's graph, times cycles of an instruction, over the clock"
    found = fitted(entry)
    if isinstance(found, str):
        return f"unknown: {found}"
    return (f"{found.form.text(found.coefficients)} ms; {found.basis}; held out "
            f"{100 * found.mean:.0f} % in the mean, {100 * found.p90:.0f} % at p90")  # fmt: skip


def _value(field: str, fact: Sourced) -> str:
    if isinstance(fact, Fact):
        return fact.shown()
    assert isinstance(fact, Figure)
    text = _range(fact, bytes_=field.endswith("_bytes"))
    named = ", ".join(f"{k} {human_bytes(v) if field.endswith('_bytes') else f'{v:g}'}" for k, v in fact.named.items())
    what = f"{fact.what} ({fact.during}): " if isinstance(fact, Power) else ""
    return f"{what}{text}" + (f" ({named})" if named else "")


def _range(fact: Figure, *, bytes_: bool = True) -> str:
    if fact.low is None or fact.high is None:
        return "unknown"

    def shown(value: float) -> str:
        return human_bytes(value) if bytes_ else f"{value:g}"

    return shown(fact.low) if fact.low == fact.high else f"{shown(fact.low)} to {shown(fact.high)}"


def _record(profile: DeviceProfile) -> dict[str, Any]:
    latency = []
    for entry in profile.latency:
        found = fitted(entry)
        known = {"reason": found} if isinstance(found, str) else {
            "error_mean": found.mean, "error_p90": found.p90, "models": len(found.models), "rows": len(found.rows)}  # fmt: skip
        latency.append({**entry.model_dump(), **known})
    return {**profile.model_dump(mode="json"), "latency": latency}


def _console() -> Any:
    from rich.console import Console

    return Console()


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", style="bold" if i == 0 else "")
    return table
