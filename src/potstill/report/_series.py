"""Forecasts over what came true, as inline SVG."""

from __future__ import annotations

from typing import Any

from potstill.report._charts import SERIES, STUDENT, TEACHER, Axes, legend
from potstill.report._say import number

_TRUTH = SERIES[1]


def forecast(entry: dict[str, Any]) -> tuple[str, str]:
    """Return (heading, chart) of one row: what came before, what came true, what teacher and student said."""
    past, truth = entry["past"], entry["truth"]
    lines = [("truth", [*past, *truth], -len(past), _TRUTH, "1.6"), ("teacher", entry["teacher"], 0, TEACHER, "1.8"),
             ("student", entry["student"], 0, STUDENT, "2.2")]  # fmt: skip
    everything = [v for _, values, _, _, _ in lines for v in values]
    low, high = min(everything), max(everything)
    pad = (high - low) * 0.06 or 0.1
    axes = Axes(
        f"{entry['variable']}, test row {entry['row']}", (-len(past), max(len(truth) - 1, 1)), (low - pad, high + pad)
    )
    axes.y_ticks(percent=False)
    axes.x_ticks("steps ahead", whole=True)
    axes.line("zero", axes.sx(0), axes.top, axes.sx(0), axes.height - axes.bottom, ' stroke-dasharray="4 4"')
    for _, values, first, colour, width in lines:
        points = " ".join(f"{axes.sx(first + t):.1f},{axes.sy(v):.1f}" for t, v in enumerate(values))
        axes.parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round" points="{points}"/>'
        )
    rank = {0.0: "smallest error", 0.5: "median error"}.get(
        entry["quantile"], f"{entry['quantile']:.0%} have a smaller error"
    )
    heading = f"{entry['variable']}: {rank}, MSE {number(entry['error'])}"
    return heading, axes.svg() + legend({name: colour for name, _, _, colour, _ in lines})


def by_step(results: dict[str, Any]) -> str:
    """Return the error of teacher and student by how far ahead a value is; "" where none was kept."""
    found = [
        (who, (results.get(who) or {}).get("mse_by_step"), colour)
        for who, colour in (("teacher", TEACHER), ("student", STUDENT))
    ]
    kept = [(who, values, colour) for who, values, colour in found if values]
    if not kept:
        return ""
    most = max(v for _, values, _ in kept for v in values)
    axes = Axes(
        "Mean squared error by steps ahead", (1, max(2, *(len(values) for _, values, _ in kept))), (0, most * 1.06)
    )
    axes.y_ticks(percent=False)
    axes.x_ticks("steps ahead", whole=True)
    for _, values, colour in kept:
        points = " ".join(f"{axes.sx(h + 1):.1f},{axes.sy(v):.1f}" for h, v in enumerate(values))
        axes.parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
    return axes.svg() + legend({who: colour for who, _, colour in kept})
