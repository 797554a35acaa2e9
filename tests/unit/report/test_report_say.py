"""Figures and verdicts in words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from _report_results import bare, half_known, results

from potstill.report import _say as say


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9309, "93.1 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (None, "–")],
)
def test_percent(value: float | None, text: str) -> None:
    assert say.percent(value) == text


def test_with_interval() -> None:
    assert say.with_interval({"value": 0.9309, "low": 0.91, "high": 0.9487}) == "93.1 % [91.0, 94.9]"
    assert say.with_interval(None) == "–"


@pytest.mark.parametrize(
    ("points", "text"),
    [(5.617, "+5.6"), (-12.04, "-12.0"), (0.0, "0.0"), (-0.0, "0.0"), (-0.03, "-0.03"), (0.049, "+0.05"), (-0.004, "0.0"),
     (0.05, "+0.1")],
)  # fmt: skip
def test_a_signed_number_shows_its_side_of_zero(points: float, text: str) -> None:
    assert say.signed(points) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.0, "1"), (0.0025, "0.0025"), (0.0912, "0.0912"), (1168, "1,168"), (999.7, "1,000"), (3.2027e-9, "3.2 × 10⁻⁹"),
     (1e-5, "10⁻⁵"), (-2.5e-4, "-2.5 × 10⁻⁴"), (2.5e7, "2.5 × 10⁷"), (0.97, "0.97")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert say.number(value) == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("+0.6 (-1.3 to +2.4)", "+0.6 (−1.3 to +2.4)"), ("[-0.03, +1.2]", "[−0.03, +1.2]"), ("hard-label", "hard-label"),
     ("p = 1.7e-176", "p = 1.7e-176"), ("T-4", "T-4"), ("95 % of 99.1%", "95\N{NO-BREAK SPACE}% of 99.1\N{NO-BREAK SPACE}%")],
)  # fmt: skip
def test_typeset_touches_numbers_only(text: str, wanted: str) -> None:
    assert say.typeset(text) == wanted


@pytest.mark.parametrize(
    ("value", "text"), [(0.0077, "7.7 µs"), (0.9, "900 µs"), (12.34, "12.3 ms"), (1234.5, "1,234 ms"), (None, "–")]
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert say.milliseconds(value) == text


def test_moment() -> None:
    assert say.moment("2026-11-24T20:47:20+00:00") == "2026-11-24 20:47 UTC"
    assert say.moment("2026-11-24T20:47:20+02:00") == "2026-11-24T20:47:20+02:00"


@pytest.mark.parametrize(
    ("teacher", "student", "text"),
    [(77754, 970, "80× fewer"), (970, 77754, "80× more"), (1000, 400, "2.5× fewer"), (970, 970, "about the teacher's"),
     (None, 970, ""), (970, 0, "")],
)  # fmt: skip
def test_against_the_teacher(teacher: float | None, student: float, text: str) -> None:
    assert say.against(teacher, student, "fewer", "more") == text


def with_gains(*gains: tuple[str, float, float, float, str]) -> dict[str, Any]:
    found = results()
    keys = ("control", "points", "low", "high", "verdict")
    found["gains"] = [dict(zip(keys, g, strict=True)) for g in gains]
    return found


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (("hard-label", 5.62, 3.17, 8.06, "gain"),
         "Distilling gained 5.6 points over the same student trained without a teacher (95 % interval +3.2 to +8.1)."),
        (("hard-label", -1.2, -2.0, -0.4, "loss"),
         "Distilling lost 1.2 points against the same student trained without a teacher (95 % interval -2.0 to -0.4)."),
        (("label-smoothing", 0.1, -0.1, 0.2, "no gain"),
         "Distilling gave no gain over the same student trained without a teacher: +0.1 points (95 % interval -0.1 to +0.2)."),
        (("hard-pseudo-label", 1.4, -1.0, 3.8, "unresolved"),
         "Whether distilling gained anything over the control hard-pseudo-label is unresolved: +1.4 points (95 % interval -1.0 "
         "to +3.8)."),
    ],
)  # fmt: skip
def test_each_verdict_has_its_words(gain: tuple[str, float, float, float, str], text: str) -> None:
    start = "The student has 80× fewer parameters than its teacher and is 5.0 points behind it. "
    assert say.sentence(with_gains(gain)) == start + text


def test_the_strongest_control_is_named_where_it_says_otherwise() -> None:
    weak, strong = ("hard-label", 5.6, 3.2, 8.1, "gain"), ("hard-pseudo-label", 0.6, -1.3, 2.4, "unresolved")
    end = " Against the strongest control, hard-pseudo-label, that is unresolved: +0.6 (-1.3 to +2.4)."
    assert say.sentence(with_gains(weak, strong)).endswith(end)
    assert say.sentence(with_gains(strong, weak)).endswith(end), "the order of controls does not matter"
    also = ("hard-pseudo-label", 2.0, 1.0, 3.0, "gain")
    assert "strongest" not in say.sentence(with_gains(weak, also))


def test_a_teacher_of_unknown_size() -> None:
    assert say.sentence(bare()) == "The student is 5.0 points behind its teacher."


@pytest.mark.parametrize(
    ("student", "where"),
    [(0.95, "is level with it"), (0.97, "is 2.0 points ahead of it"), (0.94, "is 1.0 points behind it")],
)
def test_a_student_may_catch_up(student: float, where: str) -> None:
    found = results()
    found["arms"][0]["accuracy"]["value"] = student
    assert where in say.sentence(found)


def test_a_student_may_be_bigger() -> None:
    found = results()
    found["models"]["student"]["params"] = 155508
    assert say.sentence(found).startswith("The student has 2.0× more parameters than its teacher and is")
    found["models"]["student"]["params"] = 77000
    assert say.sentence(found).startswith("The student has about as many parameters as its teacher and is")


def test_nothing_known_is_nothing_said() -> None:
    assert say.sentence({}) == ""
    assert say.rows({}) == []


def test_rows_are_teacher_student_controls() -> None:
    found = say.rows(results())
    assert [r["name"] for r in found] == ["teacher", "student", "hard-label", "hard-pseudo-label"]
    assert [r["role"] for r in found] == ["resnet", "ds-cnn, 2 seeds", "2 seeds", "2 seeds"]
    assert [r["control"] for r in found] == ["", "", "yes", "yes"]
    assert [r["points"] for r in found] == ["", "", "+5.6 [+3.2, +8.1]", "+0.6 [-0.03, +1.2]"]
    assert [r["verdict"] for r in found] == ["", "", "gain", "unresolved"]
    assert [r["latency"] for r in found] == ["52 µs", "24 µs", "–", "–"]
    assert [r["size"] for r in found] == ["318 kB", "6.72 kB", "–", "–"]  # the artifact's, not that of the weights
    assert all(isinstance(v, str) for r in found for v in r.values())


def test_rows_of_what_is_not_known() -> None:
    teacher, student = say.rows(bare())
    assert (teacher["params"], teacher["macs"], teacher["size"], teacher["latency"]) == ("–", "–", "–", "–")
    assert (student["role"], student["size"], student["latency"]) == ("ds-cnn, 1 seed", "6.71 kB", "–")
    assert say.rows(half_known())[2]["detail"] == ""


def test_nothing_is_changed_in_the_results() -> None:
    found = results()
    before = copy.deepcopy(found)
    say.rows(found)
    say.sentence(found)
    assert found == before
