"""Which of two finished trainings is kept."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.tasks import Truth
from potstill.train.last_choice import RECOVERED, judge
from potstill.verify.gain import clustered


def rows(right: int, num: int) -> np.ndarray:
    return (np.arange(num) < right).astype(float)


@pytest.mark.parametrize(
    ("student", "control", "chosen"),
    [(81, 80, "student"), (80, 80, "control"), (79, 80, "control"), (100, 0, "student")],
)
def test_with_every_label_the_rows_alone_decide(student: int, control: int, chosen: str) -> None:
    found = judge(rows(student, 100), rows(control, 100), 1.0, 0.99)
    assert (found.chosen, found.expected, found.num) == (chosen, 0.0, 100)
    assert (found.student, found.control) == (student / 100, control / 100)


@pytest.mark.parametrize(("student", "chosen"), [(18, "student"), (17, "student"), (16, "student"), (12, "control")])
def test_with_few_labels_a_gain_is_expected_until_rows_say_otherwise(student: int, chosen: str) -> None:
    found = judge(rows(student, 20), rows(17, 20), 0.1, 0.99)
    assert found.expected == pytest.approx(RECOVERED * 0.9 * (0.99 - 0.85))
    assert found.chosen == chosen


def test_more_rows_weigh_more() -> None:
    few, many = (judge(rows(16 * k, 20 * k), rows(17 * k, 20 * k), 0.1, 0.99) for k in (1, 100))
    assert few.expected == many.expected and few.chosen == "student" and many.chosen == "control"
    assert many.gain == pytest.approx(-0.05, abs=0.005)


@pytest.mark.parametrize("teacher", [0.85, 0.5])
def test_a_teacher_that_is_no_better_than_the_control_promises_nothing(teacher: float) -> None:
    found = judge(rows(17, 20), rows(17, 20), 0.1, teacher)
    assert (found.expected, found.gain, found.chosen) == (0.0, 0.0, "control")


def test_the_two_are_weighed_by_their_precision() -> None:
    student, control = rows(15, 20), rows(14, 20)
    found = judge(student, control, 0.0, 1.0)
    variance, prior = (1 + 1 - 20 * 0.05**2) / 400, (0.075 + 0.01) ** 2
    assert found.expected == pytest.approx(0.075)
    assert found.gain == pytest.approx((0.05 / variance + 0.075 / prior) / (1 / variance + 1 / prior))


def test_rows_of_one_speaker_are_one_value_and_those_of_many_decide() -> None:
    student, control, truth = rows(70, 100), rows(85, 100), Truth(np.zeros(100, np.int64), ["a"])

    def judged(num_groups: int) -> str:
        groups = np.arange(100) % num_groups
        values = [clustered(v[None], groups, truth)[0] for v in (student, control)]
        found = judge(*values, 0.1, 0.99)
        assert found.num == num_groups and found.student == pytest.approx(0.70)
        return found.chosen

    assert judge(student, control, 0.1, 0.99).chosen == "control"
    assert [judged(n) for n in (1, 2, 50)] == ["student", "student", "control"]
