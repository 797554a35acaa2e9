"""The page and the card, from results.json."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.core.units import human_bytes, human_count, human_seconds
from potstill.report import _charts as charts
from potstill.report import _say as say

_HERE = Path(__file__).parent
_MANY_CLASSES = 30


def page(results: dict[str, Any], run: Path, *, samples: bool) -> str:
    """Return the HTML page.

    Args:
        results: results.json.
        run: folder that holds its pictures.
        samples: show them.
    """
    html: str = _template("page.html").render(
        r=results,
        css=(_HERE / "page.css").read_text(),
        sentence=say.sentence(results),
        rows=say.rows(results),
        tiles=_tiles(results),
        gains=_gain_chart(results),
        curves=_curves(results),
        per_class=_per_class(results),
        confusion=_confusion(results),
        pairs=_worst_pairs(results),
        calibration=_calibration(results),
        pictures=_pictures(results, run) if samples else [],
        notes=[n for n in results.get("notes") or [] if n["level"] == "caution"],
        small_notes=[n for n in results.get("notes") or [] if n["level"] != "caution"],
    )
    return html


def card(results: dict[str, Any]) -> str:
    """Return the model card in Markdown."""
    text: str = _template("card.md").render(r=results, sentence=say.sentence(results), rows=say.rows(results))
    return text


def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=FileSystemLoader(_HERE), autoescape=name.endswith(".html"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    env.filters |= {
        "percent": say.percent, "interval": say.with_interval, "bytes": human_bytes, "count": human_count,
        "seconds": human_seconds, "ms": say.milliseconds, "svg": Markup,
    }  # fmt: skip
    return env.get_template(name)


def _tiles(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (figure, name, remark) for the head of the page."""
    models, artifact = results.get("models") or {}, next(iter(results.get("artifacts") or []), None)
    teacher, student = models.get("teacher") or {}, models.get("student") or {}
    arm = next(iter(results.get("arms") or []), None)
    tiles = []
    if arm:
        theirs = (results.get("teacher") or {}).get("accuracy")
        tiles.append((say.percent(arm["accuracy"]["value"]), "accuracy of the student",
                      f"teacher {say.percent(theirs['value'])}" if theirs else ""))  # fmt: skip
    gain = next(iter(results.get("gains") or []), None)
    if gain:
        tiles.append((f"{gain['points']:+.1f}", f"points over {gain['control']}", say.WORDS[gain["verdict"]]))
    if student.get("params"):
        smaller = say.times(teacher.get("params"), student["params"])
        tiles.append(
            (human_count(student["params"]), "parameters", f"{smaller} fewer than the teacher" if smaller else "")
        )
    if student.get("macs"):
        fewer = say.times(teacher.get("macs"), student["macs"])
        tiles.append((human_count(student["macs"]), "multiply-accumulates", f"{fewer} fewer" if fewer else ""))
    if artifact:
        ratio = artifact.get("latency_ratio")
        faster = f"{1 / ratio['value']:.1f}× faster than the teacher" if ratio and ratio["value"] else "measured here"
        tiles.append((say.milliseconds(artifact["latency_ms"]["median"]), "a picture, one thread", faster))
        tiles.append((human_bytes(artifact["bytes"]), f"{artifact['format'].upper()} file", "parity checked"))
    return tiles


def _gain_chart(results: dict[str, Any]) -> str:
    rows = [
        (g["control"], g["points"], g["low"], g["high"], g["verdict"].replace(" ", "-"))
        for g in results.get("gains") or []
    ]
    return charts.intervals("Gain of the student over each control, in points with 95 % intervals", rows, 0.3)


def _curves(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (heading, chart) pairs of what training logged."""
    curves = results.get("curves") or {}
    validation: list[charts.Line] = []
    for i, (arm, seeds) in enumerate(curves.items()):
        colour = charts.SERIES[i % len(charts.SERIES)]
        lines = [
            [(r["epoch"], r["validation"]) for r in records if r.get("validation") is not None]
            for records in seeds.values()
        ]
        validation += [charts.Line(arm, points, colour, thin=True) for points in lines if len(lines) > 1]
        validation.append(charts.Line(arm, _mean(lines), colour))
    out = [("Validation accuracy", charts.lines("Validation accuracy by epoch", validation, "epoch", percent=True))]
    records: list[dict[str, Any]] = next(iter((curves.get("student") or {}).values()), [])
    names = list(records[0]["terms"]) if records else []

    def series(field: str) -> list[charts.Line]:
        return [
            charts.Line(name, [(r["epoch"], r["terms"][name][field]) for r in records if r["terms"][name].get(field) is not None],
                        charts.SERIES[i % len(charts.SERIES)])
            for i, name in enumerate(names)
        ]  # fmt: skip

    fields = (("Loss of each term", "loss"), ("Weight of each term", "weight"), ("Temperature", "temperature"),
              ("Share of the gradient at the logits", "share"))  # fmt: skip
    for heading, field in fields:
        chart = [line for line in series(field) if line.points]
        out.append((heading, charts.lines(heading, chart, "epoch", from_zero=True)))
    rate = [charts.Line("learning rate", [(r["epoch"], r["learning_rate"]) for r in records], charts.SERIES[0])]
    out.append(("Learning rate", charts.lines("Learning rate", rate, "epoch", from_zero=True)))
    return [(heading, chart) for heading, chart in out if chart]


def _mean(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    by_x: dict[float, list[float]] = {}
    for points in lines:
        for x, y in points:
            by_x.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(by_x.items())]


def _per_class(results: dict[str, Any]) -> str:
    student = (results.get("student") or {}).get("per_class")
    if not student:
        return ""
    series: dict[str, Sequence[float]] = {}
    teacher = (results.get("teacher") or {}).get("per_class")
    if teacher:
        series["teacher"] = [c["recall"] for c in teacher]
    series["student"] = [c["recall"] for c in student]
    controls = [a for a in results.get("arms") or [] if a["control"] and a.get("per_class")]
    if controls:
        best = max(controls, key=lambda a: a["accuracy"]["value"])
        series[f"best control: {best['name']}"] = [c["recall"] for c in best["per_class"]]
    order = sorted(range(len(student)), key=lambda i: student[i]["recall"])[:_MANY_CLASSES]
    order = sorted(order) if len(student) <= _MANY_CLASSES else order
    names = [student[i]["name"] for i in order]
    return charts.bars("Recall by class", names, {k: [v[i] for i in order] for k, v in series.items()})


def _confusion(results: dict[str, Any]) -> str:
    counts = (results.get("student") or {}).get("confusion")
    if not counts or len(counts) > _MANY_CLASSES:
        return ""
    return charts.heat("Confusion of the student", results["classes"], counts)


def _worst_pairs(results: dict[str, Any]) -> list[tuple[str, str, int]]:
    counts = (results.get("student") or {}).get("confusion") or []
    pairs = [(row[j], i, j) for i, row in enumerate(counts) for j in range(len(row)) if i != j and row[j]]
    names = results.get("classes") or []
    return [(names[i], names[j], n) for n, i, j in sorted(pairs, key=lambda p: (-p[0], p[1], p[2]))[:8]]


def _calibration(results: dict[str, Any]) -> str:
    series = {}
    for who in ("teacher", "student"):
        found = (results.get(who) or {}).get("calibration")
        if found:
            points = [(b["confidence"], b["accuracy"], b["count"]) for b in found["bins"] if b["count"]]
            series[f"{who}, error {found['ece'] * 100:.1f} points"] = points
    return charts.reliability("Accuracy against confidence", series) if series else ""


def _pictures(results: dict[str, Any], run: Path) -> list[dict[str, Any]]:
    """Return the disagreements with their pictures as data URIs; one whose file is gone is left out."""
    out, classes = [], results.get("classes") or []
    for entry in results.get("disagreements") or []:
        file = run / entry["file"]
        if run.resolve() in file.resolve().parents and file.is_file():
            data = base64.b64encode(file.read_bytes()).decode()
            named = {k: classes[entry[k]] for k in ("label", "teacher", "student")}
            out.append({**entry, **named, "src": f"data:image/png;base64,{data}"})
    return out
