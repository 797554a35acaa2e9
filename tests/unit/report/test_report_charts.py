"""The charts, read back as XML: where things stand, what is escaped, what an empty series gives."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from _report_results import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from potstill.report import _charts as charts


def parsed(chart: str) -> ET.Element:
    """Return the elements of a chart and its legend; fails where they are not well-formed."""
    return ET.fromstring(f"<div>{chart}</div>")


def texts(chart: str) -> list[str]:
    return [e.text or "" for e in parsed(chart).iter("text")]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 60, [0, 20, 40, 60]), (-2.4, 9.9, [0, 2.5, 5, 7.5]), (0.93, 0.99, [0.94, 0.96, 0.98]),
     (0, 0.01, [0, 0.002, 0.004, 0.006, 0.008, 0.01]), (3, 3, [3]), (0, math.inf, [0])],
)  # fmt: skip
def test_ticks_are_round(low: float, high: float, wanted: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(wanted)


def test_whole_ticks() -> None:
    assert charts.ticks(0, 12, whole=True) == [0, 5, 10]
    assert charts.ticks(0, 2, whole=True) == [0, 1, 2]
    assert charts.ticks(0, 1, whole=True) == [0, 1]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10), st.booleans())
def test_ticks_lie_within_and_are_few(low: float, span: float, num: int, whole: bool) -> None:
    high = low + span
    found = charts.ticks(low, high, num, whole)
    slack = 1e-8 * max(abs(low), abs(high), 1.0)
    assert all(low - slack <= t <= high + slack for t in found)
    assert found == sorted(found)
    assert len(found) <= num + 1
    if whole and high > low:
        assert all(t == int(t) for t in found)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) <= 1 or max(steps) - min(steps) < 1e-6 * max(steps)


def test_a_line_goes_where_its_points_are() -> None:
    chart = charts.lines("loss", [charts.Line("a", [(1, 0.0), (2, 1.0), (4, 0.5)], "red")], from_zero=True)
    line = next(parsed(chart).iter("polyline"))
    (x1, y1), (x2, y2), (x4, y4) = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert (x4 - x2) == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert y2 < y4 < y1, "up is more"
    assert (y1 - y4) == pytest.approx((y1 - y2) / 2, abs=0.2)
    assert texts(chart)[-1] == "epoch"
    assert [e.tail for e in parsed(chart).iter("i")] == ["a"]


def test_settled_begins_where_the_last_three_quarters_do() -> None:
    points = [(float(e), 0.1 if e < 25 else 0.9 + e / 1000) for e in range(1, 101)]
    line = [charts.Line("a", points, "red")]
    low = [t for t in texts(charts.lines("v", line, percent=True, settled=True)) if t.endswith("%")]
    assert float(low[0].split()[0]) > 90
    whole = [t for t in texts(charts.lines("v", line, percent=True)) if t.endswith("%")]
    assert float(whole[0].split()[0]) <= 25


def test_the_first_line_is_on_top_and_first_in_the_legend() -> None:
    chart = charts.lines("v", [charts.Line("a", [(1, 1), (2, 2)], "red"), charts.Line("b", [(1, 1), (2, 2)], "blue")])
    assert [e.attrib["stroke"] for e in parsed(chart).iter("polyline")] == ["blue", "red"]
    assert [e.tail for e in parsed(chart).iter("i")] == ["a", "b"]


def test_one_point_is_a_dot() -> None:
    chart = charts.lines("v", [charts.Line("a", [(1, 0.5)], "red")])
    assert len(list(parsed(chart).iter("circle"))) == 1
    assert not list(parsed(chart).iter("polyline"))


@pytest.mark.parametrize("points", [[], [(1.0, math.nan)], [(1.0, math.inf)]])
def test_no_points_no_chart(points: Sequence[tuple[float, float]]) -> None:
    assert charts.lines("v", [charts.Line("a", points, "red")]) == ""
    both = charts.lines("v", [charts.Line("a", points, "red"), charts.Line("b", [(1, 1), (2, 3)], "blue")])
    assert [e.tail for e in parsed(both).iter("i")] == ["b"], "the legend names what is drawn"
    assert "nan" not in both
    assert "inf" not in both


def test_other_charts_of_nothing() -> None:
    assert charts.lines("v", []) == ""
    assert charts.intervals("g", [], "points") == ""
    assert charts.bars("r", [], [], {}) == ""


def test_intervals() -> None:
    row = charts.Interval("hard-label", 2.0, 1.0, 3.0, [1.5, 2.5], "green")
    chart = charts.intervals("g", [row], "points", band=0.3)
    whisker = next(e for e in parsed(chart).iter("line") if e.attrib["class"] == "iv")
    dot, *seeds = parsed(chart).iter("circle")
    x1, x2 = float(whisker.attrib["x1"]), float(whisker.attrib["x2"])
    assert float(dot.attrib["cx"]) == pytest.approx((x1 + x2) / 2, abs=0.2)
    assert [float(s.attrib["cx"]) for s in seeds] == pytest.approx([x1 + (x2 - x1) / 4, x2 - (x2 - x1) / 4], abs=0.2)
    zero = next(e for e in parsed(chart).iter("line") if e.attrib["class"] == "zero")
    assert float(zero.attrib["x1"]) < x1
    assert "0" in texts(chart)
    assert all(not t.startswith("-") for t in texts(chart)), "a minus sign, no hyphen"


def test_one_seed_has_no_dot_of_its_own() -> None:
    row = charts.Interval("a", 2.0, 2.0, 2.0, [2.0], "green")
    assert len(list(parsed(charts.intervals("g", [row], "points")).iter("circle"))) == 1


def test_bars() -> None:
    chart = charts.bars("r", ["a", "b"], [1.0, 0.5], {"teacher": ("black", [0.5, 1.0])})
    wide, half = [float(e.attrib["width"]) for e in parsed(chart).iter("rect")]
    assert half == pytest.approx(wide / 2, abs=0.1)
    first, second = [e for e in parsed(chart).iter("line") if e.attrib["class"] == "mark"]
    assert float(second.attrib["x1"]) - float(first.attrib["x1"]) == pytest.approx(half, abs=0.2)
    assert texts(chart)[-4:] == ["a", "100.0 %", "b", "50.0 %"]


def test_heat_has_both_axes_and_counts() -> None:
    chart = charts.heat("c", ["cat", "dog"], [[8, 2], [0, 5]])
    found = texts(chart)
    assert found[:2] == ["predicted", "truth"]
    assert (found.count("cat"), found.count("dog")) == (2, 2)
    assert [t for t in found if t.isdigit()] == ["8", "2", "5"], "a zero is left empty"
    cells = [(e.attrib["class"], e.attrib["style"]) for e in list(parsed(chart).iter("rect"))[1:]]
    assert cells == [("hit", "--a:0.800"), ("miss", "--a:1.000"), ("hit", "--a:1.000")]


def test_heat_of_many_classes_has_no_numbers() -> None:
    for num, numbers in ((charts.NUMBERED, charts.NUMBERED), (charts.NUMBERED + 1, 0)):
        names = [f"kind {chr(97 + i)}" for i in range(num)]
        chart = charts.heat("c", names, [[9 if i == j else 0 for j in range(num)] for i in range(num)])
        assert sum(t == "9" for t in texts(chart)) == numbers


def test_heat_of_rows_without_samples() -> None:
    assert [t for t in texts(charts.heat("c", ["a", "b"], [[0, 0], [0, 0]])) if t.isdigit()] == []


def test_reliability_dots_are_areas() -> None:
    chart = charts.reliability("c", {"student": ("teal", [(0.5, 0.5, 25), (0.9, 0.9, 100)])})
    small, large = [float(e.attrib["r"]) - 2.5 for e in parsed(chart).iter("circle")]
    assert large == pytest.approx(2 * small, abs=0.15)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_escaped(name: str) -> None:
    """Well-formed XML with no element but a chart's own, whatever the names are."""
    points = [(1.0, 1.0), (2.0, 2.0)]
    made = [
        charts.lines(name, [charts.Line(name, points, "red")]),
        charts.intervals(name, [charts.Interval(name, 0, -1, 1, [], "red")], name),
        charts.bars(name, [name], [0.5], {name: ("red", [0.5])}),
        charts.heat(name, [name, name], [[1, 1], [1, 1]]),
        charts.reliability(name, {name: ("red", [(0.5, 0.5, 1)])}),
    ]
    allowed = {"div", "svg", "g", "rect", "line", "circle", "polyline", "text", "ul", "li", "i"}
    for chart in made:
        tree = parsed(chart)
        assert {e.tag for e in tree.iter()} <= allowed
        assert next(tree.iter("svg")).attrib["aria-label"] == name
        assert not any(key.startswith("on") for e in tree.iter() for key in e.attrib)


def test_long_names_are_cut_and_wide_letters_get_room() -> None:
    assert charts.short("abcdef", 6) == "abcdef"
    assert charts.short("abcdefg", 6) == "abcde…"
    assert charts.room(["猫猫"]) == charts.room(["abcd"])


@pytest.mark.parametrize("chart", ["lines", "heat"])
def test_no_number_is_broken(chart: str) -> None:
    made = {
        "lines": charts.lines("v", [charts.Line("a", [(0, 1e-9), (3, 2e-9)], "red")]),
        "heat": charts.heat("c", ["a"], [[3]]),
    }[chart]
    assert not re.search(r"nan|inf|None", made)


def test_on_a_log_axis_equal_factors_are_equal_steps() -> None:
    chart = charts.lines("loss", [charts.Line("a", [(1, 100.0), (2, 1.0), (3, 0.01), (4, 0.0)], "red")], log=True)
    line = next(parsed(chart).iter("polyline"))
    (_, y1), (_, y2), (_, y3) = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert y3 - y2 == pytest.approx(y2 - y1, abs=0.2) and y1 < y2, "0 has no place on it"
    assert texts(chart)[:5] == ["0.01", "0.1", "1", "10", "100"]


@given(st.floats(-12, 12), st.floats(0.01, 20))
def test_decades_lie_within_and_are_few(low: float, span: float) -> None:
    found = charts.decades(low, low + span)
    assert len(found) <= 7 and found == sorted(found)
    assert all(low <= math.log10(v) <= low + span for v in found) and (found or span < 0.4)
