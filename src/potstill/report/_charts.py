"""Small charts as inline SVG: no script, no font, no request. Colours are CSS variables of the page.

All are about as wide as a telephone, so that their text keeps a readable size there and in half of a wide page.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from potstill.report._say import number, typeset

# The first is the student's; an arm has the same one in every chart.
SERIES = tuple(f"var(--s{i})" for i in range(1, 7))
TEACHER, STUDENT = "var(--teacher)", SERIES[0]
WIDTH = 440
NUMBERED = 20
"""Classes beyond which a cell of the confusion is too small for its number."""
_LETTER = 6.7
"""Width of a letter, for room beside labels; a little more than the page's fonts need."""

Point = tuple[float, float]


@dataclass
class Line:
    """One line of a chart; thin ones are single seeds, a thick one is their mean."""

    name: str
    points: Sequence[Point]
    colour: str
    thin: bool = False


@dataclass
class Interval:
    """One row of an interval plot: an estimate, its interval, and what single seeds gave."""

    name: str
    value: float
    low: float
    high: float
    seeds: Sequence[float]
    colour: str


@dataclass
class Axes:
    """A plot area with scales and ticks; `x` and `y` are (lowest, highest)."""

    title: str
    x: Point
    y: Point
    height: int = 220
    width: int = WIDTH
    left: float = 48
    right: float = 14
    top: float = 12
    bottom: float = 38
    parts: list[str] = field(default_factory=list)

    def sx(self, value: float) -> float:
        low, high = self.x
        return self.left + (value - low) / max(high - low, 1e-12) * (self.width - self.left - self.right)

    def sy(self, value: float) -> float:
        low, high = self.y
        span = self.height - self.bottom - self.top
        return self.height - self.bottom - (value - low) / max(high - low, 1e-12) * span

    def text(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        css = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float, rest: str = "") -> None:
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{rest}/>')

    def dot(self, x: float, y: float, radius: float, colour: str, rest: str = "") -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"{rest}/>')

    def y_ticks(self, *, percent: bool, num: int = 5, log: bool = False) -> None:
        """Draw the grid's rows; makes room for their labels, so it comes before anything else. With `log`, y is log10."""
        if log:
            named = [(math.log10(value), label(value)) for value in decades(*self.y)]
        else:
            named = [(tick, label(tick, percent)) for tick in ticks(*self.y, num=num)]
        self.left = 12 + room([words for _, words in named])
        for tick, words in named:
            y = self.sy(tick)
            self.line("grid", self.left, y, self.width - self.right, y)
            self.text(self.left - 6, y + 4, words, "end")

    def x_ticks(
        self, caption: str, *, percent: bool = False, grid: bool = False, num: int = 5, whole: bool = False
    ) -> None:
        """Draw the ticks below, with a caption at the end."""
        base = self.height - self.bottom
        for tick in ticks(*self.x, num=num, whole=whole):
            if grid:
                self.line("grid", self.sx(tick), self.top, self.sx(tick), base)
            self.text(self.sx(tick), base + 18, label(tick, percent), "middle")
        self.text(self.width - self.right, self.height - 3, caption, "end", "dim")

    def clipped(self, parts: Sequence[str]) -> None:
        """Add parts of which only what lies in the plot area is drawn, and a hair more."""
        x, y, wide, high = (
            self.left,
            self.top,
            self.width - self.left - self.right,
            self.height - self.bottom - self.top,
        )
        box = f"{x - 2:.1f} {y - 2:.1f} {wide + 4:.1f} {high + 4:.1f}"
        place = f'x="{x - 2:.1f}" y="{y - 2:.1f}" width="{wide + 4:.1f}" height="{high + 4:.1f}"'
        self.parts.append(f'<svg {place} viewBox="{box}">{"".join(parts)}</svg>')

    def svg(self) -> str:
        return frame(self.title, self.width, self.height, self.parts)


def sparklines(title: str, lines: Sequence[Sequence[float]]) -> str:
    """Return small lines under each other, each variable to its own scale, its first in the student's colour."""
    wide, high = 240, 46
    parts = []
    for i, values in enumerate(lines):
        low, high_value = min(values), max(values)
        span, step = max(high_value - low, 1e-12), wide / max(len(values) - 1, 1)
        points = " ".join(
            f"{k * step:.1f},{i * high + 4 + (high - 8) * (1 - (v - low) / span):.1f}" for k, v in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{SERIES[i % len(SERIES)]}" stroke-width="1.5"/>')
    return frame(title, wide, high * len(lines), parts)


def frame(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    """Return an SVG with an accessible name; it scales with its column, up to a readable size."""
    name, most = escape(title, quote=True), f"max-width:{width * 1.15:.0f}px"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="{most}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
    )


def ticks(low: float, high: float, num: int = 5, whole: bool = False) -> list[float]:
    """Return about `num` round numbers in [low, high], at most num + 1; `[low]` where there is no span.

    With `whole` they are integers.
    """
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = max(span / num, 1.0) if whole else span / num
    scale = 10 ** math.floor(math.log10(raw))
    steps = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(s * scale for s in steps if s * scale >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return seven round numbers at most between 10^low and 10^high: powers of ten, with twos and fives where these are few."""
    first, last = math.floor(low), math.ceil(high)
    for parts in ((1, 2, 5), (1,)):
        found = [p * 10.0**e for e in range(first, last + 1) for p in parts if low <= math.log10(p * 10.0**e) <= high]
        if len(found) <= 7:
            return found
    return found[:: math.ceil(len(found) / 7)]


def label(value: float, percent: bool = False) -> str:
    """Return a tick's text."""
    return typeset(f"{value * 100:.4g} %" if percent else number(value, 4))


def short(name: str, most: int) -> str:
    """Return a name of at most `most` letters, the last one an ellipsis where it was cut."""
    return name if len(name) <= most else name[: most - 1] + "…"


def room(names: Sequence[str]) -> float:
    """Return the width that the longest of some names needs."""
    return _LETTER * max(len(n) + sum(unicodedata.east_asian_width(c) in "WF" for c in n) for n in names)


def legend(named: Mapping[str, str]) -> str:
    """Return the names of a chart's series beside their colours."""
    items = "".join(f'<li><i style="background:{colour}"></i>{escape(name)}</li>' for name, colour in named.items())
    return f'<ul class="legend">{items}</ul>'


def lines(
    title: str,
    series: Sequence[Line],
    *,
    percent: bool = False,
    from_zero: bool = False,
    settled: bool = False,
    log: bool = False,
    caption: str = "epoch",
) -> str:
    """Return a line chart over epochs, or what the caption says, with its legend; an empty string without points.

    Args:
        title: says what is drawn, for those who cannot see it.
        series: in the legend's order; the first is drawn on top.
        percent: y is a share.
        from_zero: y begins at 0.
        settled: y begins at the lowest point of the last three quarters, so that the end can be told apart; what lies
            below is cut off.
        log: y grows by factors; what is not above 0 is left out.
        caption: what x counts.
    """
    kept = [(line, [p for p in line.points if math.isfinite(p[1]) and (p[1] > 0 or not log)]) for line in series]
    if log:
        kept, from_zero = [(line, [(x, math.log10(y)) for x, y in some]) for line, some in kept], False
    points = [p for _, some in kept for p in some]
    if not points:
        return ""
    last = max(x for x, _ in points)
    high = max(y for _, y in points)
    low = 0.0 if from_zero else min(y for x, y in points if not settled or x >= last / 4)
    pad = (high - low) * 0.06 or max(abs(high) * 0.06, 0.01)
    axes = Axes(
        title, (min(0.0, *(x for x, _ in points)), max(last, 1e-9)), (low if from_zero else low - pad, high + pad)
    )
    axes.y_ticks(percent=percent, log=log)
    axes.x_ticks(caption, whole=True)
    drawn = []
    for line, some in reversed(kept):
        style = 'stroke-width="1" opacity=".35"' if line.thin else 'stroke-width="2.2"'
        path = " ".join(f"{axes.sx(x):.1f},{axes.sy(y):.1f}" for x, y in some)
        if len(some) == 1:
            x, y = path.split(",")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="{2 if line.thin else 3.5}" fill="{line.colour}"/>')
        elif some:
            drawn.append(
                f'<polyline fill="none" stroke="{line.colour}" {style} stroke-linejoin="round" points="{path}"/>'
            )
    axes.clipped(drawn)
    named = {line.name: line.colour for line, some in kept if some}
    return axes.svg() + ("" if list(named) == [title] else legend(named))


def intervals(
    title: str, rows: Sequence[Interval], caption: str, *, percent: bool = False, band: float | None = None
) -> str:
    """Return estimates with their intervals, one below another, and a small dot for each seed.

    Args:
        title: says what is drawn, for those who cannot see it.
        rows: from the top.
        caption: below the axis.
        percent: values are shares, else points with a sign.
        band: shade ±band around zero and draw zero.
    """
    if not rows:
        return ""
    values = [v for r in rows for v in (r.low, r.high, *r.seeds)] + ([] if band is None else [-2 * band, 2 * band])
    pad = (max(values) - min(values)) * 0.05 or 0.01
    axes = Axes(title, (min(values) - pad, max(values) + pad), (0, 1), height=48 + 32 * len(rows), top=6, right=22)
    names = [short(r.name, 20) for r in rows]
    axes.left = 18 + room(names)
    base = axes.height - axes.bottom
    if band is not None:
        wide = axes.sx(band) - axes.sx(-band)
        axes.parts.append(
            f'<rect class="band" x="{axes.sx(-band):.1f}" y="6" width="{wide:.1f}" height="{base - 6:.1f}"/>'
        )
        axes.line("zero", axes.sx(0), 6, axes.sx(0), base)
    axes.x_ticks(caption, percent=percent, grid=True, num=5 if percent else 7)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = 24 + 32 * i
        axes.text(axes.left - 12, y + 4, name, "end")
        axes.line("iv", axes.sx(row.low), y, axes.sx(row.high), y, f' stroke="{row.colour}"')
        axes.dot(axes.sx(row.value), y, 5.5, row.colour)
        if len(row.seeds) > 1:
            for value in row.seeds:
                axes.dot(axes.sx(value), y + 9, 2.2, row.colour, ' opacity=".75"')
    return axes.svg()


def bars(
    title: str, names: Sequence[str], student: Sequence[float], marks: Mapping[str, tuple[str, Sequence[float]]]
) -> str:
    """Return one bar a class for the student's share in [0, 1], and an upright mark on it for each of `marks`, which is
    name -> (colour, share of each class); two at most."""
    if not names:
        return ""
    row = 24
    axes = Axes(title, (0, 1), (0, 1), height=row * len(names) + 46, right=58, top=4)
    labels = [short(n, 18) for n in names]
    axes.left = 14 + room(labels)
    axes.x_ticks("recall", percent=True, grid=True, num=4)
    for i, name in enumerate(labels):
        y = 6 + row * i
        axes.text(axes.left - 8, y + 13, name, "end")
        wide = max(axes.sx(student[i]) - axes.left, 0.0)
        axes.parts.append(
            f'<rect x="{axes.left:.1f}" y="{y + 3}" width="{wide:.1f}" height="12" rx="2" fill="{STUDENT}" opacity=".5"/>'
        )
        for j, (colour, values) in enumerate(marks.values()):
            # A later mark is shorter, so that equal ones can both be seen.
            x, inset = axes.sx(values[i]), 4 * j
            axes.line("mark", x, y + inset, x, y + 18 - inset, f' stroke="{colour}" stroke-width="{2.6 + j}"')
        axes.text(axes.width - 4, y + 13, f"{student[i] * 100:.1f} %", "end")
    return axes.svg() + legend({"student": STUDENT} | {name: colour for name, (colour, _) in marks.items()})


def heat(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix [K, K], rows the truth, columns the prediction: hits shaded by their share of the row,
    misses by their share of the worst miss."""
    num = len(classes)
    cell = 30 if num <= 12 else max(12, 400 // num)
    names = [short(c, 12) for c in classes]
    wide = room(names)
    left, upright = 30 + wide, wide > 2 * _LETTER or num > 12
    top = 26 + (wide if upright else 12)
    total = [max(sum(row), 1) for row in counts]
    worst = max((c / total[i] for i, row in enumerate(counts) for j, c in enumerate(row) if i != j), default=0) or 1
    side = cell * num
    axes = Axes(title, (0, 1), (0, 1), height=math.ceil(top + side + 6), width=math.ceil(left + side + 6))
    axes.text(left + side / 2, 14, "predicted", "middle", "dim")
    middle = f"{top + side / 2:.1f}"
    axes.parts.append(
        f'<text class="dim" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">truth</text>'
    )
    axes.parts.append(f'<rect class="ground" x="{left:.1f}" y="{top:.1f}" width="{side}" height="{side}"/>')
    for i, name in enumerate(names):
        across, down = left + cell * (i + 0.5), top + cell * (i + 0.5)
        axes.text(left - 6, down + 4, name, "end")
        turn = f'transform="translate({across + 4:.1f} {top - 5:.1f}) rotate(-90)"'
        place = turn if upright else f'x="{across:.1f}" y="{top - 6:.1f}" text-anchor="middle"'
        axes.parts.append(f"<text {place}>{escape(name)}</text>")
        for j, count in enumerate(counts[i]):
            if count:
                share = count / total[i] if i == j else count / total[i] / worst
                kind = "hit" if i == j else "miss"
                axes.parts.append(
                    _cell(kind, left + cell * j, top + cell * i, cell, share, count if num <= NUMBERED else None)
                )
    return axes.svg()


def _cell(kind: str, x: float, y: float, side: int, share: float, count: int | None) -> str:
    rect = f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1}" height="{side - 1}" style="--a:{share:.3f}"/>'
    if count is None:
        return rect
    tone = "on " if share > 0.55 else ""
    return (
        rect
        + f'<text class="{tone}num" x="{x + side / 2:.1f}" y="{y + side / 2 + 4:.1f}" text-anchor="middle">{count}</text>'
    )


def reliability(title: str, series: Mapping[str, tuple[str, Sequence[tuple[float, float, int]]]]) -> str:
    """Return accuracy against confidence with the diagonal; `series` is name -> (colour, (confidence, accuracy, count)
    of each bin), and a dot's area is its bin's share of the rows."""
    axes = Axes(title, (0, 1), (0, 1), height=320, width=WIDTH - 80, right=26)
    axes.y_ticks(percent=True)
    axes.x_ticks("confidence", percent=True)
    axes.line("zero", axes.sx(0), axes.sy(0), axes.sx(1), axes.sy(1), ' stroke-dasharray="4 4"')
    for colour, points in series.values():
        most = max((p[2] for p in points), default=1)
        for x, y, count in points:
            axes.dot(
                axes.sx(x),
                axes.sy(y),
                2.5 + 8 * math.sqrt(count / most),
                colour,
                f' fill-opacity=".35" stroke="{colour}"',
            )
    return axes.svg() + legend({name: colour for name, (colour, _) in series.items()})
