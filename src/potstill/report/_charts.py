"""Small charts as inline SVG: no script, no font, no request. Colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

SERIES = ("var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)")


@dataclass
class Line:
    """One line of a chart; thin ones are single seeds, a thick one is their mean."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    thin: bool = False


@dataclass
class Axes:
    """A plot area with scales and ticks."""

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 560
    height: int = 240
    left: int = 48
    bottom: int = 34
    x_label: str = ""
    percent: bool = False
    _parts: list[str] = field(default_factory=list)

    def sx(self, value: float) -> float:
        low, high = self.x
        return self.left + (value - low) / max(high - low, 1e-12) * (self.width - self.left - 12)

    def sy(self, value: float) -> float:
        low, high = self.y
        return self.height - self.bottom - (value - low) / max(high - low, 1e-12) * (self.height - self.bottom - 12)

    def add(self, part: str) -> None:
        self._parts.append(part)

    def grid(self) -> None:
        for tick in ticks(*self.y):
            y = self.sy(tick)
            self.add(f'<line class="grid" x1="{self.left}" x2="{self.width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.add(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{self._number(tick)}</text>')
        for tick in ticks(*self.x):
            self.add(
                f'<text x="{self.sx(tick):.1f}" y="{self.height - self.bottom + 16}" text-anchor="middle">{tick:g}</text>'
            )
        if self.x_label:
            self.add(
                f'<text class="dim" x="{self.width - 12}" y="{self.height - 2}" text-anchor="end">{escape(self.x_label)}</text>'
            )

    def _number(self, value: float) -> str:
        return f"{value * 100:.4g} %" if self.percent else f"{value:.4g}"

    def svg(self) -> str:
        return frame(self.title, self.width, self.height, self._parts)


def frame(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """Return an SVG with an accessible title that scales with its column."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, num: int = 5) -> list[float]:
    """Return round numbers between low and high."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / num
    scale = 10 ** math.floor(math.log10(raw))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(title: str, series: Sequence[Line], x_label: str, *, percent: bool = False, from_zero: bool = False) -> str:
    """Return a line chart with its legend; an empty string without points."""
    points = [p for line in series for p in line.points if math.isfinite(p[1])]
    if not points:
        return ""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = (0.0 if from_zero else min(ys)), max(ys)
    pad = (high - low) * 0.06 or max(abs(high) * 0.06, 0.01)
    axes = Axes(
        title, (min(xs), max(xs)), (low if from_zero else low - pad, high + pad), x_label=x_label, percent=percent
    )
    axes.grid()
    for line in series:
        path = " ".join(f"{axes.sx(x):.1f},{axes.sy(y):.1f}" for x, y in line.points if math.isfinite(y))
        style = 'stroke-width="1" opacity=".35"' if line.thin else 'stroke-width="2.2"'
        axes.add(f'<polyline fill="none" stroke="{line.colour}" {style} stroke-linejoin="round" points="{path}"/>')
    named = {line.name: line.colour for line in series}
    return axes.svg() + legend(named)


def legend(named: dict[str, str]) -> str:
    """Return the names of a chart's series beside their colours."""
    items = "".join(f'<li><i style="background:{colour}"></i>{escape(name)}</li>' for name, colour in named.items())
    return f'<ul class="legend">{items}</ul>'


def intervals(title: str, rows: Sequence[tuple[str, float, float, float, str]], margin: float) -> str:
    """Return a dot-and-interval plot; rows are (name, value, low, high, css class), `margin` is drawn around zero."""
    if not rows:
        return ""
    low = min(-2 * margin, *(r[2] for r in rows))
    high = max(2 * margin, *(r[3] for r in rows))
    pad = (high - low) * 0.05
    height = 46 + 34 * len(rows)
    axes = Axes(
        title, (low - pad, high + pad), (0, 1), width=640, height=height, left=150, x_label="points over the control"
    )
    top, bottom = 8, height - axes.bottom
    axes.add(
        f'<rect class="band" x="{axes.sx(-margin):.1f}" y="{top}" width="{axes.sx(margin) - axes.sx(-margin):.1f}" height="{bottom - top}"/>'
    )
    axes.add(f'<line class="zero" x1="{axes.sx(0):.1f}" x2="{axes.sx(0):.1f}" y1="{top}" y2="{bottom}"/>')
    for tick in ticks(*axes.x, num=7):
        axes.add(f'<text x="{axes.sx(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:+g}</text>')
    axes.add(
        f'<text class="dim" x="628" y="{height - 2}" text-anchor="end">points over the control; band: ±{margin:g}</text>'
    )
    for i, (name, value, lo, hi, kind) in enumerate(rows):
        y = 26 + 34 * i
        axes.add(f'<text x="142" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        axes.add(f'<line class="iv {kind}" x1="{axes.sx(lo):.1f}" x2="{axes.sx(hi):.1f}" y1="{y}" y2="{y}"/>')
        axes.add(f'<circle class="dot {kind}" cx="{axes.sx(value):.1f}" cy="{y}" r="5.5"/>')
    return axes.svg()


def bars(title: str, names: Sequence[str], series: dict[str, Sequence[float]]) -> str:
    """Return grouped horizontal bars of shares in [0, 1], one group a name."""
    if not names or not series:
        return ""
    thick, gap = 9, 10
    group = thick * len(series) + gap
    left = 16 + min(150, 7 * max(len(n) for n in names))
    width, height = 560, group * len(names) + 30
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + tick * (width - left - 50)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 24}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick * 100:.0f} %</text>')
    for i, name in enumerate(names):
        top = 6 + group * i
        label = name if len(name) <= 21 else name[:20] + "…"
        parts.append(
            f'<text x="{left - 8}" y="{top + (group - gap) / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        for j, (_, values) in enumerate(series.items()):
            length = max(values[i], 0.0) * (width - left - 50)
            parts.append(
                f'<rect x="{left}" y="{top + j * thick}" width="{length:.1f}" height="{thick - 2}" rx="1.5" fill="{SERIES[j]}"/>'
            )
    return frame(title, width, height, parts) + legend({name: SERIES[j] for j, name in enumerate(series)})


def heat(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix, rows the truth, shaded by the row's share."""
    num = len(classes)
    cell = 34 if num <= 12 else max(14, 420 // num)
    left = 12 + min(120, 7 * max(len(c) for c in classes))
    width, height = left + cell * num + 8, 26 + cell * num + left - 30
    height = 26 + cell * num + 8
    parts = [f'<text class="dim" x="{left}" y="14">predicted →</text>']
    for i, row in enumerate(counts):
        total = max(sum(row), 1)
        y = 22 + cell * i
        label = classes[i] if len(classes[i]) <= 16 else classes[i][:15] + "…"
        parts.append(f'<text x="{left - 8}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        for j, count in enumerate(row):
            share = count / total
            kind = "hit" if i == j else "miss"
            parts.append(
                f'<rect class="{kind}" x="{left + cell * j}" y="{y}" width="{cell - 1}" height="{cell - 1}" style="--a:{share:.3f}"/>'
            )
            if count and cell >= 24:
                tone = ' class="on"' if share > 0.55 else ""
                parts.append(
                    f'<text{tone} x="{left + cell * j + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="middle">{count}</text>'
                )
    return frame(title, width, height, parts)


def reliability(title: str, series: Mapping[str, Sequence[tuple[float, float, int]]]) -> str:
    """Return accuracy against confidence with the diagonal; points are (confidence, accuracy, count)."""
    axes = Axes(title, (0, 1), (0, 1), width=320, height=300, percent=True, x_label="confidence")
    axes.grid()
    axes.add(
        f'<line class="zero" x1="{axes.sx(0)}" y1="{axes.sy(0)}" x2="{axes.sx(1)}" y2="{axes.sy(1)}" stroke-dasharray="4 4"/>'
    )
    for j, points in enumerate(series.values()):
        if not points:
            continue
        largest = max(p[2] for p in points)
        path = " ".join(f"{axes.sx(x):.1f},{axes.sy(y):.1f}" for x, y, _ in points)
        axes.add(f'<polyline fill="none" stroke="{SERIES[j]}" stroke-width="1.6" points="{path}"/>')
        for x, y, count in points:
            axes.add(
                f'<circle cx="{axes.sx(x):.1f}" cy="{axes.sy(y):.1f}" r="{2 + 5 * math.sqrt(count / largest):.1f}" fill="{SERIES[j]}" opacity=".75"/>'
            )
    return axes.svg() + legend({name: SERIES[j] for j, name in enumerate(series)})
