"""Kills: of one process, of a group, of the command; two at once."""

from __future__ import annotations

from collections import Counter

import pytest
from _faults import Dose, Record
from _faults_kills import GroupKilled, StagesKilled, TrainingKilled
from _faults_labels import LabellingKilled, TwoWriters
from _faults_runs import CommandKilled, TwoRuns


def ended(records: list[Record]) -> Counter[str]:
    return sum((Counter(r.ended) for r in records), Counter())


def test_training(dose: Dose) -> None:
    found = ended(dose(TrainingKilled))
    assert found["killed at a file"] and found["killed at a time"], found


def test_every_stage_and_the_report(dose: Dose) -> None:
    dose(StagesKilled)


def test_label_writing(dose: Dose) -> None:
    found = ended(dose(LabellingKilled))
    assert len([what for what in found if what.startswith("killed with")]) >= 4, "kills at one place only"


@pytest.mark.parametrize("kind", [GroupKilled, CommandKilled, TwoRuns, TwoWriters])
def test_processes(dose: Dose, kind: type[GroupKilled]) -> None:
    dose(kind)
