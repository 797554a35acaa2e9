"""Which candidates the rules name, which they leave out, and how long a race may take."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.train import choice
from potstill.train.choice import LEAST_ROWS, MOST, RULES, Known, Picked, first_part, no_race, pick

PLAIN = Known(
    num_classes=10, labelled=1.0, teacher_accuracy=0.98, calibration_error=0.02, noise=0.0, capacity=8.0, same_family=False
)  # fmt: skip

FEW_LABELS = ["T=1", "standardised T=2", "T=2"]
MOST_LABELS = ["wttm and hard labels", "dist and hard labels"]


def picked(known: Known) -> Picked:
    return pick(known, lambda objective: objective.refuses(known.num_classes))


def names(**changes: Any) -> list[str]:
    return [rule.name for rule in picked(dataclasses.replace(PLAIN, **changes)).candidates]


def test_conditions_ask_for_what_is_known_and_can_be_met() -> None:
    fields = {f.name for f in dataclasses.fields(Known)}
    for rule in RULES:
        assert rule.why and rule.objectives and set(rule.when) <= fields, rule.name
        assert all(low < high for low, high in rule.when.values()), rule.name
        assert any(o.needs().teacher != "nothing" for o in rule.objectives), f"{rule.name} reads no teacher"
        assert all(o.needs().taps is None for o in rule.objectives), f"{rule.name} reads more than the store"
    same = {rule.name: rule.objectives for rule in RULES}
    assert all(same[rule.name] == rule.objectives for rule in RULES), "one name, one loss"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, [*MOST_LABELS, "T=1"]),
        ({"labelled": 0.1}, FEW_LABELS),
        ({"labelled": 0.49}, FEW_LABELS),
        ({"labelled": 0.5}, [*MOST_LABELS, "T=1"]),
        ({"capacity": 100.0}, [*MOST_LABELS, "standardised T=2"]),
        ({"capacity": 100.0, "same_family": True}, [*MOST_LABELS, "T=1"]),
        ({"capacity": None, "same_family": None}, [*MOST_LABELS, "T=1"]),
        ({"teacher_accuracy": 0.3}, ["T=1 and hard labels alike", *MOST_LABELS]),
        ({"num_classes": 2}, ["T=1", "T=2", "T=2 and hard labels"]),
        ({"num_classes": 2, "noise": 0.1}, ["T=1", "T=2"]),
        ({"num_classes": 2, "noise": 0.1, "calibration_error": 0.1}, ["T=1", "T=2", "T=4"]),
        ({"num_classes": 3}, [*MOST_LABELS, "T=1"]),
        ({"num_classes": 1000}, [*MOST_LABELS, "T=1"]),
        ({"num_classes": 1001}, ["T=1", "dkd and hard labels", "wttm and hard labels"]),
    ],
    ids=["all", "few", "nearly half", "half", "big", "family", "unknown", "weak", "two", "two-noise", "two-unsure", "three",
         "1000", "1001"],
)  # fmt: skip
def test_candidates(changes: dict[str, Any], wanted: list[str]) -> None:
    assert names(**changes) == wanted


share = st.floats(0, 1)


@given(
    st.builds(
        Known, num_classes=st.integers(2, 3000), labelled=share, teacher_accuracy=share, calibration_error=share | st.none(),
        noise=share, capacity=st.floats(0.1, 1e4) | st.none(), same_family=st.booleans() | st.none(),
    )
)  # fmt: skip
def test_two_or_three_candidates_whatever_is_known_and_none_that_refuses(known: Known) -> None:
    found = picked(known)
    assert 2 <= len(found.candidates) <= MOST and not found.left_out
    assert len({rule.name for rule in found.candidates}) == len(found.candidates)
    assert all(o.refuses(known.num_classes) is None for rule in found.candidates for o in rule.objectives)
    assert all(rule.why for rule in found.candidates)


def test_what_the_labels_cannot_serve_is_left_out_with_the_reason_and_the_next_takes_its_place() -> None:
    def refuses(objective: Any) -> str | None:
        return "no logits" if getattr(objective, "standardize", False) else None

    found = pick(dataclasses.replace(PLAIN, capacity=200.0), refuses)
    assert [rule.name for rule in found.candidates] == [*MOST_LABELS, "T=1"]
    assert found.left_out == {"standardised T=2": "no logits"}
    assert not pick(PLAIN, lambda objective: "never").candidates


def test_one_name_is_tried_once_for_its_first_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    again = [dataclasses.replace(rule, why="again") for rule in RULES]
    for rules, told in (((*RULES, *again), False), ((*again, *RULES), True)):
        monkeypatch.setattr(choice, "RULES", tuple(rules))
        found = picked(dataclasses.replace(PLAIN, labelled=0.1)).candidates
        assert [rule.name for rule in found] == FEW_LABELS
        assert all((rule.why == "again") == told for rule in found)


@given(st.integers(1, 10**7), st.integers(2, MOST))
def test_losers_take_a_fifth_of_one_training_at_most_and_hardly_less(num_steps: int, num: int) -> None:
    extra = (num - 1) * first_part(num_steps, num)
    assert extra * 5 <= num_steps < (extra + num - 1) * 5


def test_why_no_race_is_run() -> None:
    assert no_race(100, 3, LEAST_ROWS) is None and first_part(100, 3) == 10 and first_part(100, 2) == 20
    assert first_part(100, 1) == 0 and "only one candidate" in (no_race(100, 1, 500) or "")
    assert f"{LEAST_ROWS - 1} labelled validation rows decide nothing" in (no_race(100, 3, LEAST_ROWS - 1) or "")
    assert no_race(10, 3, 500) is None and "9 steps are too few" in (no_race(9, 3, 500) or "")
