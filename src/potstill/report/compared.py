"""A comparison's folder -> one self-contained HTML page, the table of the terminal, and what follows in words.

Reads `compare.json`; computes no figure of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core import atomic
from potstill.core.units import human_bytes, human_count
from potstill.report import _say as say
from potstill.report._fitted import fitted

if TYPE_CHECKING:
    from rich.table import Table

    from potstill.core.progress import Progress
    from potstill.pipeline.arms import CompareSpec
    from potstill.pipeline.compare import Compared
    from potstill.stages import RunOptions

PAGE = "compare.html"
_LINES = {"weight_bytes": "bytes of weights", "macs": "MACs", "latency_ms": "latency"}


def compare_file(
    path: Path, spec: CompareSpec, seeds: int | None, out: Path | None, options: RunOptions, progress: Progress
) -> Compared:
    """Compare the arms of a recipe's file, and write the page.

    Args:
        path: of the recipe.
        spec: arms and budget.
        seeds: trainings of each arm; None takes the recipe's.
        out: folder; None: runs/<name>-compare.
        options: where and how.
        progress: where to report.
    """
    from potstill.pipeline.compare import compare
    from potstill.recipe.load import load

    recipe = load(path)
    recipe = recipe if seeds is None else recipe.model_copy(update={"seeds": seeds})
    folder, cores = out or Path("runs") / f"{recipe.name}-compare", options.threads or os.cpu_count() or 1
    done = compare(recipe, spec, path.read_text(encoding="utf-8-sig"), folder, options, progress, cores)
    if done.changed or not (folder / PAGE).exists():
        build(folder)
    return done


def build(folder: Path) -> Path:
    """Write `compare.html` beside `compare.json` and return it; the same results give the same bytes."""
    from potstill.report import _scatter as scatter
    from potstill.report._charts import SERIES, TEACHER
    from potstill.report._page import style, template

    results = atomic.read_json(folder / "compare.json")
    teacher, error = results["teacher"], say.is_error(results["teacher"]["accuracy"])

    def chart(name: str, caption: str, of: Callable[[dict[str, Any]], float], words: Callable[[float], str]) -> str:
        spots = [_spot(scatter.Spot, "teacher", teacher, of, TEACHER)] if of(teacher) else []
        for arm, colour in zip(results["arms"], cycle(SERIES), strict=False):
            spots.append(_spot(scatter.Spot, arm["name"], arm, of, colour))
        return scatter.scatter(name, spots, caption, words, percent=not error)

    metric = say.metric(results)
    html = template("compare.html").render(
        r=results,
        css=style(),
        metric=metric,
        budget=budget(results),
        sentences=sentences(results),
        rows=[_row(arm) for arm in results["arms"]],
        teacher=_row({**teacher, "name": "teacher", "gain": None, "over": []}),
        against=_against(results),
        sizes=_sizes(results),
        charts=[
            (f"Test {metric} against size", chart("size", "file", lambda a: a["file_bytes"] or 0, human_bytes)),
            (
                f"Test {metric} against latency",
                chart("latency", "latency, median", lambda a: a["latency_ms"]["median"], say.milliseconds),
            ),
        ],
    )
    out = folder / PAGE
    atomic.write_bytes(out, html.encode())
    return out


def _spot(kind: Any, name: str, arm: dict[str, Any], of: Callable[[dict[str, Any]], float], colour: str) -> Any:
    found = arm["accuracy"]
    values = [found[k] for k in ("value", "low", "high")]
    if say.is_error(found):
        values = [1 - v for v in values]
    return kind(
        name, of(arm), values[0], min(values[1:]), max(values[1:]), colour, bool(arm.get("over")), name != "teacher"
    )


def budget(results: dict[str, Any]) -> str:
    """Return the budget in words, such as "at most 20.5 KB of weights"."""
    found = results["budget"]
    if found.get("latency_ms") is not None:
        return f"at most {say.milliseconds(found['latency_ms'])} a sample"
    if found["macs"] is not None:
        return f"at most {human_count(found['macs'])} MACs"
    return f"at most {human_bytes(found['weight_bytes'])} of weights"


def sentences(results: dict[str, Any]) -> list[str]:
    """Return what the comparison shows: who is the most accurate within the budget and whether its interval says so, which
    arms gain over the control, who is smallest, who fastest, and who breaks the budget."""
    arms, metric = results["arms"], say.metric(results)
    out = [*_winner(results, metric), *_gains(arms)]
    smallest, fastest = (
        min(arms, key=lambda a: a["file_bytes"]),
        min(arms, key=lambda a: a["latency_ratio"]["value"]),
    )
    ratio = fastest["latency_ratio"]
    out.append(
        f"Smallest file: {smallest['name']}, {human_bytes(smallest['file_bytes'])}. Fastest: {fastest['name']}, "
        f"{ratio['value']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}] of the teacher's time."
    )
    for arm in arms:
        if arm["over"]:
            lines = " and ".join(_LINES[name] for name in arm["over"])
            took = f", {_latency(arm)}" if "latency_ms" in arm["over"] else ""
            out.append(f"Over the budget, and no winner: {arm['name']}, by its {lines}{took}.")
    return out


def _latency(arm: dict[str, Any]) -> str:
    found = arm["latency_ms"]["interval"]
    return f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}] ms"


def _winner(results: dict[str, Any], metric: str) -> list[str]:
    best = results["best"]
    if best is None:
        return [f"No arm keeps to the budget, {budget(results)}."]
    arm = next(a for a in results["arms"] if a["name"] == best["name"])
    text = f"Most accurate within the budget ({budget(results)}): {best['name']}, {metric} {say.with_interval(arm['accuracy'])}"
    beaten = [name for name, g in best["against"].items() if g["verdict"] == "gain"]
    open_ = [name for name, g in best["against"].items() if g["verdict"] != "gain"]
    if not best["against"]:
        return [f"{text}; nothing else keeps to it."]
    if not open_:
        return [f"{text}. The intervals support it against each other arm."]
    found = ", ".join(f"{name} ({say.points_with_interval(best['against'][name])})" for name in open_)
    against = f" They support it against {', '.join(beaten)}." if beaten else ""
    return [f"{text}. The intervals do not support it against {found}.{against}"]


def _gains(arms: list[dict[str, Any]]) -> list[str]:
    out = []
    for verdict, words in (
        ("gain", "gain over the control"),
        ("loss", "lose to the control"),
        ("no gain", "show no gain over the control"),
    ):
        found = [
            f"{a['name']} {say.points_with_interval(a['gain'])}"
            for a in arms
            if a["gain"] and a["gain"]["verdict"] == verdict
        ]
        if found:
            out.append(f"{words[0].upper()}{words[1:]}, in points: {', '.join(found)}.")
    return out


def _row(arm: dict[str, Any]) -> dict[str, Any]:
    gain, ratio, memory = arm.get("gain"), arm.get("latency_ratio"), arm.get("peak_memory_bytes")
    return {
        "name": arm["name"],
        "accuracy": say.with_interval(arm["accuracy"]),
        "points": say.points_with_interval(gain) if gain else "",
        "verdict": gain["verdict"] if gain else "",
        "params": human_count(arm["params"]) if arm["params"] else "–",
        "macs": human_count(arm["macs"]) if arm["macs"] else "–",
        "size": human_bytes(arm["file_bytes"]) if arm["file_bytes"] else "–",
        "latency": say.milliseconds(arm["latency_ms"]["median"]),
        "ratio": f"{ratio['value']:.3g}" if ratio else "1",
        "ratio_interval": f"[{ratio['low']:.3g}, {ratio['high']:.3g}]" if ratio else "",
        "memory": human_bytes(memory["value"]) if memory and memory.get("value") else "–",
        "over": bool(arm["over"]),
    }


def _sizes(results: dict[str, Any]) -> list[str]:
    """Return what was chosen by its latency: the model, its numbers or ratio, and what it took untrained."""
    out = []
    for name, size in (results.get("sizes") or {}).items():
        found, took = size["chosen"], size["chosen"]["latency_ms"]
        numbers = ", ".join(f"{k} {v:g}" for k, v in found.get("numbers", {}).items()) or "as the recipe has it"
        what = f"pruning ratio {found['ratio']:.3f}" if "ratio" in found else numbers
        out.append(f"{name}: {what}; untrained {took['value']:.3g} [{took['low']:.3g}, {took['high']:.3g}] ms")
    return out


def _against(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (arm, points of the winner over it, verdict)."""
    best = results["best"] or {"against": {}}
    return [(name, say.points_with_interval(g), g["verdict"]) for name, g in best["against"].items()]


def comparison_table(results: dict[str, Any], width: int = 80) -> Table:
    """Return the arms beside one another, with as many columns as `width` characters hold."""
    columns = [("size", "file"), ("ratio", "latency ratio"), ("params", "params"), ("memory", "memory")]
    return fitted(partial(_table, results), columns, width)


def _table(results: dict[str, Any], columns: dict[str, str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left",
        title=f"{escape(results['name'])}, {budget(results)}",
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for column in (f"{say.metric(results)}, 95 %", *columns.values(), "over control"):
        table.add_column(column, justify="right", no_wrap=bool(columns))
    table.add_column("verdict", no_wrap=True)
    teacher = _row({**results["teacher"], "name": "teacher", "gain": None, "over": []})
    for row in (teacher, *map(_row, results["arms"])):
        verdict = f"[{say.STYLES[row['verdict']]}]{row['verdict']}[/]" if row["verdict"] else ""
        verdict = "[red]over the budget[/]" if row["over"] else verdict
        table.add_row(row["name"], *(escape(row[k]) for k in ("accuracy", *columns, "points")), verdict)
    return table
