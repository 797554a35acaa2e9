"""The page and the card, from results.json."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

from potstill.core.samples import FORMS, SampleKind
from potstill.core.units import human_bytes, human_count, human_seconds
from potstill.report import _auto as auto
from potstill.report import _board as board
from potstill.report import _charts as charts
from potstill.report import _cuts as cut
from potstill.report import _devices as devices
from potstill.report import _measured as measured
from potstill.report import _quantised as rounded
from potstill.report import _robust as robust
from potstill.report import _say as say
from potstill.report import _series as drawn
from potstill.report import _timing as timing
from potstill.report._card import limits

_HERE = Path(__file__).parent
_MANY_CLASSES = 30
"""Classes beyond which only the worst are drawn."""
_SMALL_PIXELS = 64
"""Pictures up to this side are drawn in whole pixels."""
_COLOURS = {"gain": "var(--good)", "loss": "var(--bad)", "no gain": "var(--even)", "unresolved": "var(--open)"}


def page(results: dict[str, Any], run: Path, *, samples: bool) -> str:
    """Return the HTML page.

    Args:
        results: results.json.
        run: folder that holds its pictures.
        samples: show them.
    """
    notes = results.get("notes") or []
    html: str = template("page.html").render(
        r=results,
        css=style(),
        sentence=say.sentence(results),
        rows=say.rows(results),
        tiles=_tiles(results),
        gains=_gain_chart(results),
        spread=_spread_chart(results),
        many_seeds=len(_first(results.get("arms")).get("seeds") or []) > 1,
        steps=_steps(results),
        taps=_taps(results),
        assistants=_assistants(results),
        auto=auto.sentence(results),
        tried=auto.rows(results),
        cuts=cut.cuts(results),
        curves=_curves(results),
        terms=_terms(results),
        per_class=_per_class(results),
        confusion=_confusion(results),
        rejections=_rejections(results),
        pairs=_worst_pairs(results),
        calibration=_calibration(results),
        pictures=_pictures(results, run) if samples else [],
        small_pixels=_kind(results) == "image"
        and max((results.get("data") or {}).get("shape", [0])[:2]) <= _SMALL_PIXELS,
        noun=FORMS[_kind(results)].noun,
        kind=_kind(results),
        metric=say.metric(results),
        forecasts=[drawn.forecast(f) for f in results.get("forecasts") or []] if samples else [],
        sentences=(results.get("sentences") or []) if samples else [],
        by_step=drawn.by_step(results),
        notes=[n["text"] for n in notes if n["level"] == "caution"],
        small_notes=[n["text"] for n in notes if n["level"] != "caution"],
        many_classes=_MANY_CLASSES,
        on_devices=measured.rows(results),
        quantised=rounded.rows(results),
        quantised_sentence=rounded.sentence(results),
        sensitivity=rounded.sensitivity(results),
        layers_tried=rounded.tried(results),
        devices=devices.rows(results),
        device_lines=devices.columns(results),
        robust=robust.section(results),
        timings=[timing.section(a) for a in results.get("artifacts") or []],
        boards=[board.section(a, run) for a in results.get("artifacts") or []],
    )
    return html


def card(results: dict[str, Any]) -> str:
    """Return the model card in Markdown."""
    text: str = template("card.md").render(
        r=results,
        sentence=say.sentence(results),
        rows=say.rows(results),
        student=(results.get("models") or {}).get("student") or {},
        artifacts=results.get("artifacts") or [],
        metric=say.metric(results),
        noun=FORMS[_kind(results)].noun,
        on_devices=measured.rows(results),
        quantised=rounded.rows(results),
        quantised_sentence=rounded.sentence(results),
        robust=robust.section(results),
        timings=[timing.section(a) for a in results.get("artifacts") or []],
        writes="bleu" in (results.get("student") or {}),
        devices=devices.rows(results),
        device_lines=devices.columns(results),
        limits=limits(results),
    )
    return text


def style() -> str:
    """Return the style sheet that every page carries."""
    return (_HERE / "page.css").read_text()


@cache
def template(name: str) -> Any:
    """Return a template of this folder, with the filters that bring figures into words."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=FileSystemLoader(_HERE), autoescape=name.endswith(".html"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    env.filters |= {
        "percent": say.percent, "score": say.score, "interval": say.with_interval, "bytes": human_bytes, "count": human_count,
        "seconds": human_seconds, "ms": say.milliseconds, "number": say.number, "moment": say.moment,
        "typeset": say.typeset, "plain": _plain, "svg": Markup,
    }  # fmt: skip
    return env.get_template(name)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, in one line and in one cell of a table."""
    return re.sub(r"([\\`*_|<>&\[\]])", r"\\\1", " ".join(text.split()))


def _kind(results: dict[str, Any]) -> SampleKind:
    found: SampleKind = (results.get("data") or {}).get("sample") or "image"
    return found


def _first(items: Iterable[Any] | None) -> dict[str, Any]:
    return next(iter(items or []), None) or {}


def _tiles(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (name, figure, remark, CSS class of the remark) for the head of the page."""
    models, artifact = results.get("models") or {}, _first(results.get("artifacts"))
    teacher, student = models.get("teacher") or {}, models.get("student") or {}
    arm, gain = _first(results.get("arms")), say.headline_gain(results)
    tiles = []
    if arm:
        theirs = (results.get("teacher") or {}).get("accuracy")
        remark = f"teacher {say.score(theirs)}" if theirs else ""
        tiles.append((say.metric(results), say.score(arm["accuracy"]), remark, ""))
    if gain:
        name, kind = f"gain over {gain['control']}", gain["verdict"].replace(" ", "-")
        tiles.append((name, f"{say.typeset(say.signed(gain['points']))} points", gain["verdict"], f"pill {kind}"))
    for name, key in (("parameters", "params"), ("MACs", "macs")):
        if student.get(key):
            remark = say.against(teacher.get(key), student[key], "fewer", "more")
            tiles.append((name, human_count(student[key]), remark, ""))
    if artifact:
        ours, theirs = artifact["latency_ms"]["median"], (artifact.get("teacher_latency_ms") or {}).get("median")
        remark = say.against(theirs, ours, "faster", "slower") or "measured here"
        tiles.append(("latency", say.milliseconds(ours), remark, ""))
        remark = say.against(teacher.get("file_bytes"), artifact["bytes"], "smaller", "bigger")
        tiles.append((f"{artifact['format'].upper()} file", human_bytes(artifact["bytes"]), remark, ""))
    return tiles


def _gain_chart(results: dict[str, Any]) -> str:
    from potstill.verify.gain import MARGIN

    rows = [
        charts.Interval(g["control"], g["points"], g["low"], g["high"], g["per_seed"], _COLOURS[g["verdict"]])
        for g in results.get("gains") or []
    ]
    return charts.intervals("Gain of the student over each control, in points", rows, "points", band=MARGIN)


def _spread_chart(results: dict[str, Any]) -> str:
    """Return the headline of each arm and of the teacher, seed by seed."""
    rows = []
    theirs = (results.get("teacher") or {}).get("accuracy")
    if theirs:
        rows.append(_spread("teacher", theirs, [], charts.TEACHER))
    rows += [_spread(a["name"], a["accuracy"], [], charts.TEACHER) for a in results.get("assistants") or []]
    for arm, colour in zip(results.get("arms") or [], cycle(charts.SERIES), strict=False):
        rows.append(_spread(arm["name"], arm["accuracy"], arm["per_seed"], colour))
    name = say.metric(results)
    title = f"Test {name} of teacher, student and controls"
    return charts.intervals(title, rows, f"test {name}", percent=name != "MSE")


def _spread(name: str, found: dict[str, Any], seeds: Sequence[float], colour: str) -> charts.Interval:
    if say.is_error(found):
        return charts.Interval(
            name, 1 - found["value"], 1 - found["high"], 1 - found["low"], [1 - s for s in seeds], colour
        )
    return charts.Interval(name, found["value"], found["low"], found["high"], seeds, colour)


def _taps(results: dict[str, Any]) -> str:
    """Return which places in student and teacher the student's objectives compared; nothing where none read features."""
    taps = next((a.get("taps") or {} for a in results.get("arms") or [] if not a["control"]), {})
    found = [f"{term}: " + ", ".join(f"{p['student']} ↔ {p['teacher']}" for p in pairs) for term, pairs in taps.items()]
    return f"Features compared, student ↔ teacher. {'; '.join(found)}." if found else ""


def _assistants(results: dict[str, Any]) -> str:
    """Return who taught the student in the teacher's place; nothing where the teacher itself did."""
    found = [f"{a['name']} ({a['model']['name']}, {a['steps']:,} steps)" for a in results.get("assistants") or []]
    if not found:
        return ""
    return f"The student learnt from {', which learnt from '.join(reversed(found))}, which learnt from the teacher."


def _steps(results: dict[str, Any]) -> str:
    arms = results.get("arms") or []
    found = {a["steps"] for a in arms}
    if not found:
        return ""
    log, _ = _student_log(results)
    epoch = f" An epoch is {log[-1]['step'] / log[-1]['epoch']:,.0f} of them." if log and log[-1]["epoch"] else ""
    if len(found) == 1:
        who = "Each of the arms" if len(arms) > 1 else "The student"
        return f"{who} was trained for {found.pop():,} optimiser steps.{epoch}"
    return "Optimiser steps: " + ", ".join(f"{a['name']} {a['steps']:,}" for a in arms) + f".{epoch}"


def _curves(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (heading, chart) pairs of what training logged. One term alone has neither weight nor share worth a chart,
    unless its weight changes; nor has a temperature that never does."""
    log, names = _student_log(results)
    rows = ((results.get("data") or {}).get("rows") or {}).get("validation")
    heading = f"Validation {say.metric(results)}"
    out = [(f"{heading}, {rows:,} rows" if rows else heading, _validation_chart(results))]
    place = "weights" if _taps(results) else "logits"
    of_one = f"student, seed {next(iter((results.get('curves') or {}).get('student') or {}), '')}"
    for field, heading in (("loss", "Loss of each term"), ("weight", "Weight of each term"),
                           ("factor", "Factor on each weight, by balance"), ("temperature", "Temperature"),
                           ("share", f"Share of the gradient at the {place}")):  # fmt: skip
        series = [charts.Line(n, _field(log, n, field), c) for n, c in zip(names, cycle(charts.SERIES), strict=False)]
        changes = any(len({y for _, y in line.points}) > 1 for line in series)
        if field == "loss" or changes or (len(names) > 1 and field != "temperature"):
            wide = field == "factor" or (field in ("loss", "weight") and _far_apart(series))
            chart = charts.lines(heading, series, percent=field == "share", from_zero=True, log=wide)
            out.append((f"{heading}, {of_one}{', log scale' if wide else ''}", chart))
    rate = charts.Line("learning rate", [(r["epoch"], r["learning_rate"]) for r in log], charts.SERIES[0])
    out.append((f"Learning rate, {of_one}", charts.lines("learning rate", [rate], from_zero=True)))
    return [(heading, chart) for heading, chart in out if chart]


def _far_apart(series: Sequence[charts.Line]) -> bool:
    """Return whether one of several lines would lie flat on the axis of another: typical values 20 times apart or more."""
    middle = [sorted(y for _, y in line.points)[len(line.points) // 2] for line in series if line.points]
    return len(middle) > 1 and min(middle) > 0 and max(middle) >= 20 * min(middle)


def _validation_chart(results: dict[str, Any]) -> str:
    lines: list[charts.Line] = []
    error = say.metric(results) == "MSE"
    for (arm, seeds), colour in zip((results.get("curves") or {}).items(), cycle(charts.SERIES), strict=False):
        points = [
            [
                (float(r["epoch"]), 1 - r["validation"] if error else float(r["validation"]))
                for r in log
                if r.get("validation") is not None
            ]
            for log in seeds.values()
        ]
        lines.append(charts.Line(arm, _mean(points), colour))
        lines += [charts.Line(arm, p, colour, thin=True) for p in points if len(points) > 1]
    return charts.lines(f"validation {say.metric(results)}", lines, percent=not error, settled=True)


def _student_log(results: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records of the student's first seed, and the names of its terms."""
    log: list[dict[str, Any]] = next(iter(((results.get("curves") or {}).get("student") or {}).values()), [])
    return log, list(log[0]["terms"]) if log else []


def _field(log: Sequence[dict[str, Any]], term: str, field: str) -> list[tuple[float, float]]:
    return [(r["epoch"], r["terms"][term][field]) for r in log if r["terms"][term].get(field) is not None]


def _terms(results: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each term of the student's loss with its weight and temperature, from the first epoch to the last."""
    log, names = _student_log(results)
    return [
        (name, [_course([y for _, y in _field(log, name, f)]) for f in ("weight", "temperature")]) for name in names
    ]


def _course(values: Sequence[float]) -> str:
    """Return such as "1 throughout" or "4 → 1"; "–" without values."""
    if not values:
        return "–"
    if len(set(values)) == 1:
        return f"{say.number(values[0])} throughout"
    return f"{say.number(values[0])} → {say.number(values[-1])}"


def _mean(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the mean of several seeds, at the epochs that all of them have."""
    by_x: dict[float, list[float]] = {}
    for points in lines:
        for x, y in points:
            by_x.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(by_x.items()) if len(ys) == len(lines)]


def _per_class(results: dict[str, Any]) -> str:
    student = (results.get("student") or {}).get("per_class")
    if not student:
        return ""
    order = sorted(range(len(student)), key=lambda i: (student[i]["recall"], i))[:_MANY_CLASSES]
    order = sorted(order) if len(student) <= _MANY_CLASSES else order
    marks: dict[str, tuple[str, list[float]]] = {}
    teacher = (results.get("teacher") or {}).get("per_class")
    if teacher:
        marks["teacher"] = (charts.TEACHER, [teacher[i]["recall"] for i in order])
    arms = zip(results.get("arms") or [], cycle(charts.SERIES), strict=False)
    controls = [(arm, colour) for arm, colour in arms if arm["control"] and arm.get("per_class")]
    if controls:
        best, colour = max(controls, key=lambda c: c[0]["accuracy"]["value"])
        marks[f"best control, {best['name']}"] = (colour, [best["per_class"][i]["recall"] for i in order])
    names, recalls = [student[i]["name"] for i in order], [student[i]["recall"] for i in order]
    return charts.bars("Recall by class", names, recalls, marks)


def _confusion(results: dict[str, Any]) -> str:
    counts = (results.get("student") or {}).get("confusion")
    if not counts or len(counts) > _MANY_CLASSES:
        return ""
    return charts.heat("Confusion of the student", results["classes"], counts)


def _rejections(results: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return (model, how well it tells texts of no class) of teacher, student and controls, where that was judged."""
    found = [("teacher", (results.get("teacher") or {}).get("rejection"))]
    found += [(arm["name"], arm.get("rejection")) for arm in results.get("arms") or []]
    return [(name, rejection) for name, rejection in found if rejection]


def _worst_pairs(results: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Return the pairs of classes most often confused, where the confusion's numbers cannot be read from its picture."""
    counts = (results.get("student") or {}).get("confusion") or []
    if len(counts) <= charts.NUMBERED:
        return []
    pairs = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    names = results["classes"]
    return [(names[i], names[j], n) for n, i, j in sorted(pairs, key=lambda p: (-p[0], p[1], p[2]))[:10]]


def _calibration(results: dict[str, Any]) -> str:
    series = {}
    for who, colour in (("teacher", charts.TEACHER), ("student", charts.STUDENT)):
        found = (results.get(who) or {}).get("calibration")
        if found:
            points = [(b["confidence"], b["accuracy"], b["count"]) for b in found["bins"] if b["count"]]
            series[f"{who}, error {found['ece'] * 100:.1f} points"] = (colour, points)
    return charts.reliability("Accuracy against confidence", series) if series else ""


def _pictures(results: dict[str, Any], run: Path) -> list[dict[str, Any]]:
    """Return the disagreements with what is seen of each sample: a picture as a data URI, lines, or words; one whose file is
    gone is left out."""
    out, classes = [], results.get("classes") or []
    for entry in results.get("disagreements") or []:
        seen = _seen(entry, run)
        if seen is not None:
            # A row without a label has -1.
            named = {k: classes[entry[k]] if entry[k] >= 0 else None for k in ("label", "teacher", "student")}
            out.append({"src": None, "svg": None, "text": None, **entry, **named, **seen})
    return out


def _seen(entry: dict[str, Any], run: Path) -> dict[str, Any] | None:
    if entry.get("file") is None:
        return {"svg": charts.sparklines(f"test row {entry['row']}", entry["values"])} if "values" in entry else {}
    file = run / entry["file"]
    if run.resolve() not in file.resolve().parents or not file.is_file():
        return None
    return {"src": f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"}
