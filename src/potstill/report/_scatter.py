"""Accuracy against a cost, with the arms that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from potstill.report._charts import Axes, decades, legend, ticks


@dataclass
class Spot:
    """One model: what it costs, how good it is with its interval, and whether it keeps to the budget."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: str
    over: bool = False
    compared: bool = True
    """Stands in the contest; the teacher only beside it."""


def frontier(spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots that no other beats, cheapest first: nothing is cheaper and at least as good."""
    out: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, -s.y)):
        if not out or spot.y > out[-1].y:
            out.append(spot)
    return out


def scatter(title: str, spots: Sequence[Spot], caption: str, say: Callable[[float], str], *, percent: bool) -> str:
    """Return a chart of spots, x by factors, the frontier as a line, with a legend; an empty string without spots.

    Args:
        title: says what is drawn, for those who cannot see it.
        spots: in the legend's order; x above 0.
        caption: below the axis.
        say: a tick of x in words.
        percent: y is a share, else a number.
    """
    spots = [s for s in spots if s.x > 0]
    if not spots:
        return ""
    xs = [math.log10(s.x) for s in spots]
    ys = [v for s in spots for v in (s.low, s.high)]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    pad_x, pad_y = wide * 0.08 or 0.1, high * 0.08 or 0.01
    axes = Axes(title, (min(xs) - pad_x, max(xs) + pad_x), (min(ys) - pad_y, max(ys) + pad_y), height=280)
    axes.y_ticks(percent=percent)
    base = axes.height - axes.bottom
    low, most = 10 ** axes.x[0], 10 ** axes.x[1]
    for value in decades(*axes.x) if most > 10 * low else ticks(low, most, num=4):
        x = axes.sx(math.log10(value))
        axes.line("grid", x, axes.top, x, base)
        axes.text(x, base + 18, say(value), "middle")
    axes.text(axes.width - axes.right, axes.height - 3, caption, "end", "dim")
    best = frontier([s for s in spots if s.compared and not s.over])
    points = " ".join(f"{axes.sx(math.log10(s.x)):.1f},{axes.sy(s.y):.1f}" for s in best)
    axes.parts.append(f'<polyline fill="none" class="zero" stroke-width="1.2" points="{points}"/>')
    for spot in spots:
        x = axes.sx(math.log10(spot.x))
        axes.line("iv", x, axes.sy(spot.low), x, axes.sy(spot.high), f' stroke="{spot.colour}" opacity=".45"')
        hollow = f'stroke="{spot.colour}" stroke-width="2" fill="none"' if spot.over else f'fill="{spot.colour}"'
        axes.parts.append(
            f'<circle cx="{x:.1f}" cy="{axes.sy(spot.y):.1f}" r="5.5" {hollow}><title>{escape(spot.name)}</title></circle>'
        )
    return axes.svg() + legend({s.name + (" (over the budget)" if s.over else ""): s.colour for s in spots})
