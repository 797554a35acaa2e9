"""Answers to damaged samples: a small chart for each corruption, and the models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from potstill.report import _charts as charts
from potstill.report._say import is_error, metric, score, with_interval

_WIDTH, _HEIGHT = 330, 200
_DASHES = ("7 4", "2 3", "", "9 3 2 3", "5 2", "1 4")
"""A pattern of its own for each model: colour alone does not tell them apart."""


@dataclass(frozen=True)
class _Side:
    """How one model is drawn and called."""

    found: dict[str, Any]
    name: str
    role: str
    colour: str
    dash: str


def _sides(results: dict[str, Any]) -> list[_Side]:
    arms = [arm["name"] for arm in results.get("arms") or []]
    taken = {0, *(arms.index(s["model"]) for s in results["robustness"]["sides"] if s["model"] in arms)}
    free = [colour for i, colour in enumerate(charts.SERIES) if i not in taken]
    out = []
    for i, side in enumerate(results["robustness"]["sides"]):
        name, role, colour = side["side"], side["model"], charts.STUDENT
        if name == "teacher":
            colour = charts.TEACHER
        elif name == "control":
            role, colour = (
                f"the strongest, {side['model']}",
                charts.SERIES[arms.index(side["model"]) % len(charts.SERIES)],
            )
        elif name == "student":
            role = "in float32" if results.get("quantised") else f"seed {results['robustness']['seed']}"
        else:
            artifact: dict[str, Any] = next((a for a in results.get("artifacts") or [] if a["format"] == name), {})
            scheme = (artifact.get("quantised") or {}).get("scheme")
            name, role, colour = side["model"], f"{scheme}, in its runtime" if scheme else "in its runtime", free.pop(0)
        out.append(_Side(side, name, role, colour, _DASHES[i % len(_DASHES)]))
    return out


def section(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the page and the card show; None where no sample was damaged."""
    if not results.get("robustness"):
        return None
    return {
        "sentences": _sentences(results), "table": _table(results), "legend": _legend(results), "charts": _charts_of(results),
        "by_severity": _by_severity(results),
    }  # fmt: skip


def _charts_of(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (heading, chart) of each corruption."""
    found = results["robustness"]
    sides = _sides(results)
    lines = {
        name: [[_shown(s.found["clean"]), *(_shown(c) for c in s.found["corruptions"][name].values())] for s in sides]
        for name in found["corruptions"]
    }
    error = is_error(found["sides"][0]["clean"])
    every = [v for some in lines.values() for points in some for cell in points for v in cell]
    out = []
    for name, some in lines.items():
        values = [v for points in some for cell in points for v in cell] if error else every
        out.append((name.replace("-", " "), _chart(results, name, found["severities"], sides, some, values)))
    return out


def _shown(cell: dict[str, Any]) -> tuple[float, float, float]:
    """Return (low, value, high) as drawn: an error as such."""
    low, value, high = cell["low"], cell["value"], cell["high"]
    return (1 - high, 1 - value, 1 - low) if is_error(cell) else (low, value, high)


def _chart(
    results: dict[str, Any], name: str, severities: Sequence[int], sides: Sequence[_Side],
    lines: Sequence[Sequence[tuple[float, float, float]]], values: Sequence[float],
) -> str:  # fmt: skip
    error = is_error(sides[0].found["clean"])
    pad = (max(values) - min(values)) * 0.04 or 0.01
    low = min(values) - pad
    title = f"{metric(results)} by severity of {name.replace('-', ' ')}"
    axes = charts.Axes(
        title, (-0.3, 5.3), (max(0.0, low) if error else low, max(values) + pad), height=_HEIGHT, width=_WIDTH
    )
    axes.y_ticks(percent=not error, num=4)
    base = axes.height - axes.bottom
    for severity in (0, *severities):
        axes.text(axes.sx(severity), base + 16, str(severity or "clean"), "middle")
    axes.text(axes.width - axes.right, axes.height - 3, "severity", "end", "dim")
    for i, (side, points) in enumerate(zip(sides, lines, strict=True)):
        # Beside one another, so that intervals of models that are alike can be told apart.
        xs = [axes.sx(s + 0.07 * (i - (len(sides) - 1) / 2)) for s in (0, *severities)]
        for x, (lower, value, upper) in zip(xs, points, strict=True):
            axes.line("", x, axes.sy(lower), x, axes.sy(upper), f' stroke="{side.colour}" opacity=".4"')
            axes.dot(x, axes.sy(value), 2.2, side.colour)
        path = " ".join(f"{x:.1f},{axes.sy(value):.1f}" for x, (_, value, _) in zip(xs, points, strict=True))
        dash = f' stroke-dasharray="{side.dash}"' if side.dash else ""
        axes.parts.append(f'<polyline fill="none" stroke="{side.colour}" stroke-width="1.8"{dash} points="{path}"/>')
    return axes.svg()


def _legend(results: dict[str, Any]) -> Markup:
    """Return each model's name beside its colour and its pattern."""
    items = "".join(
        f'<li><svg viewBox="0 0 34 8" aria-hidden="true"><line x1="1" y1="4" x2="33" y2="4" stroke="{s.colour}" stroke-width="2.4"'
        f' stroke-dasharray="{s.dash}"/></svg>{escape(s.name)}</li>'
        for s in _sides(results)
    )
    return Markup(f'<ul class="legend strokes">{items}</ul>')


def _table(results: dict[str, Any]) -> dict[str, Any]:
    """Return `head` and `rows`, the models side by side, every cell text; a column that has no meaning for the task is left out."""
    found = results["robustness"]
    first = found["sides"][0]
    same = f"moved by, {metric(results)}" if is_error(first["clean"]) else "same answer"
    head = [
        f"{metric(results)}, clean",
        "corrupted, mean",
        "mCE",
        f"{same}, severity {found['severities'][0]}",
        f"{same}, mean",
    ]
    head += ["ECE, clean → corrupted, points"] if first["ece"] else []
    head += ["out of scope, clean → corrupted"] if first["rejection"] else []
    return {"head": head, "rows": [(s.name, s.role, _cells(s.found)) for s in _sides(results)]}


def _cells(side: dict[str, Any]) -> list[str]:
    unit = side["clean"]["unit"]
    kept = [score({"value": v, "unit": unit}) for v in (side["consistency"]["first"], side["consistency"]["mean"])]
    mce = side["corruption_error"]["mce"]
    out = [
        with_interval(side["clean"]),
        with_interval(side["mean"]),
        "1" if mce and side["side"] == "teacher" else _mce(mce),
        *kept,
    ]
    ece, rejection = side["ece"], side["rejection"]
    out += [f"{100 * ece['clean']:.1f} → {100 * ece['corrupted']:.1f}"] if ece else []
    return out + ([f"{rejection['clean']:.3f} → {rejection['corrupted']:.3f}"] if rejection else [])


def _mce(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return f"{found['value']:.2f}" + ("" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]")


def _by_severity(results: dict[str, Any]) -> dict[str, Any]:
    """Return `head`, the models, and `rows`, (corruption, severity, cells) with every interval; all text."""
    found = results["robustness"]
    sides = _sides(results)
    rows = [
        (name.replace("-", " "), str(s), [with_interval(side.found["corruptions"][name][str(s)]) for side in sides])
        for name in found["corruptions"]
        for s in found["severities"]
    ]
    return {"head": [side.name for side in sides], "rows": rows}


def _sentences(results: dict[str, Any]) -> list[str]:
    """Return what was done and what each figure is."""
    found = results["robustness"]
    what, error = metric(results), is_error(found["sides"][0]["clean"])
    rows, severities = f"{found['rows']:,} test rows", " to ".join(map(str, dict.fromkeys([found["severities"][0], found["severities"][-1]])))  # fmt: skip
    groups = f", of {found['groups']:,} groups that the intervals go by" if found["groups"] else ""
    out = [f"{rows} drawn at random{groups}, corrupted in {len(found['corruptions'])} ways at severity {severities}. Every model read the same corrupted "
           "samples, each through its own preprocessing. Bars are 95 % intervals over rows, of one seed."]  # fmt: skip
    out.append(f"mCE, the mean corruption error: a model's error summed over severities over the teacher's on the same samples, a mean over "
               f"corruptions; 1 is the teacher's own, less is better (Hendrycks and Dietterich 2019, where AlexNet stands in the teacher's place). "
               f"An error is {what if error else f'1 − {what}'}.")  # fmt: skip
    left = found["sides"][0]["corruption_error"]["left_out"]
    if left:
        out.append(
            f"The teacher makes no error under {', '.join(left)}: there the ratio is not defined, and it is not in the mean."
        )
    if found["sides"][0]["ece"]:
        same = "Same answer: how often a row keeps the class that the model gave it clean."
    elif error:
        same = f"Moved by: {what} between a model's answers to the clean sample and to the corrupted one."
    else:
        same = f"Same answer: {what} with the model's own answer to the clean sample as the truth."
    sure = " ECE: the expected calibration error in 15 bins (Guo et al. 2017)." if found["sides"][0]["ece"] else \
        " A calibration error is not given: it is one of classes."  # fmt: skip
    scope = " Out of scope: AUROC of the largest probability, of texts with a class against those without (Hendrycks and Gimpel 2017)." if \
        found["sides"][0]["rejection"] else ""  # fmt: skip
    return [*out, f"{same}{sure}{scope}"]
