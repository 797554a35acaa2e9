"""How a race and its last choice are told."""

from __future__ import annotations

from typing import Any

import pytest
from _report_results import chosen, results

from potstill.report import _auto as auto
from potstill.report import _say as say


def test_nothing_is_said_where_objectives_are_stated() -> None:
    assert auto.sentence(results()) == "" and auto.rows(results()) == []


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (["student", "student"], "so in 2 of 2 seeds."),
        (["student", "control"], "so in 1 of 2 seeds."),
        (["control", "control"], "so in 0 of 2 seeds, which is to say: train it alone."),
        (["student"], "so in 1 of 1 seed."),
    ],
    ids=["both", "one", "none", "single"],
)
def test_the_race_in_one_sentence(kept: list[str], told: str) -> None:
    found = auto.sentence(chosen(kept))
    assert found.startswith("Losses named by rules trained the first 216 steps") and found.endswith(told)
    assert "by 60 validation rows: so" in found


def test_what_was_expected_is_said_where_labels_are_few() -> None:
    found = chosen(["student", "control"])
    for entry, expected in zip(found["auto"], (0.03, 0.01), strict=True):
        entry["choice"]["expected"] = expected
    assert "by 60 validation rows and by the +2.0 points that few labels" in auto.sentence(found)


def test_without_a_race_the_sentence_says_so() -> None:
    found = chosen(["student"])
    race = found["auto"][0]["races"][0]
    race |= {"first_part": 0, "decided_by": "first of the rules: 20 labelled validation rows decide nothing"}
    for entry in race["candidates"]:
        entry |= {"steps": 0, "score": None}
    assert auto.sentence(found).startswith("The first loss that the rules named was taken without a race.")
    assert [(r["score"], r["outcome"]) for r in auto.rows(found)[:2]] == [
        ("–", "went on: first of the rules: 20 labelled validation rows decide nothing"), ("–", "not tried")
    ]  # fmt: skip


def test_every_candidate_and_both_finished_arms_have_a_row() -> None:
    rows = auto.rows(chosen(["student", "control"]))
    assert [(r["seed"], r["name"], r["steps"], r["score"], r["outcome"]) for r in rows[5:]] == [
        ("1", "standardised T=2", "216", "70.0 %", "went on: validation score"),
        ("1", "T=1", "216", "65.0 %", "stopped"),
        ("1", "dkd", "9", "–", "the loss must stay finite"),
        ("1", "student, finished", "2,160", "90.0 %", "not kept"),
        ("1", "hard-label, finished", "2,160", "91.7 %", "kept as the student"),
    ]
    assert rows[3]["outcome"] == "kept as the student" and rows[0]["why"] == "it was best before"


def test_the_verdict_says_where_the_student_is_the_control() -> None:
    both: Any = chosen(["student", "student"])
    assert "construction" not in say.sentence(both)
    one = say.sentence(chosen(["student", "control"]))
    assert one.startswith(say.sentence(both)), "the interval's words stay"
    assert one.endswith("In 1 of 2 seeds the student is that control, with a gain of 0 by construction.")
    none = say.sentence(chosen(["control", "control"]))
    assert "Distilling" not in none and none.endswith(
        "so the student is the one trained alone, and its gain over that control is 0 by construction."
    )


def test_where_no_candidate_could_be_trained_it_is_said() -> None:
    found: Any = chosen(["control", "control"])
    found["auto"][0]["choice"]["student"] = None
    assert "In 1 of 2 seeds none of them could be trained to its end." in auto.sentence(found)
    rows = [(r["name"], r["steps"], r["score"], r["outcome"]) for r in auto.rows(found)[3:5]]
    assert rows == [("student, finished", "0", "–", "none could be trained to its end"),
                    ("hard-label, finished", "2,160", "91.7 %", "kept as the student")]  # fmt: skip
    assert "did not beat training without a teacher" in say.sentence(found)
    found["auto"][1]["choice"]["student"] = None
    assert "None of the losses that were tried could be trained to its end, so the student is" in say.sentence(found)
