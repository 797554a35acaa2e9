"""What comes from elsewhere: damaged files, mutated recipes, odd logits; and a teacher that runs live."""

from __future__ import annotations

import pytest
from _faults import Dose, Fault
from _faults_codecs import Codecs
from _faults_inputs import INPUTS, NpzHurt
from _faults_loaders import LoadersHurt
from _faults_recipes import RecipesHurt
from _faults_runs import LiveTeacher


@pytest.mark.parametrize("kind", INPUTS, ids=lambda kind: kind.kind)
def test_damaged_inputs(dose: Dose, kind: type[Fault]) -> None:
    ends = {what for r in dose(kind) for what in r.ended}
    # The checksums within npz leave next to nothing to be read; of the others some survive.
    assert ends == {"read", "refused"} or (kind is NpzHurt and ends == {"refused"}), (
        "all mutations alike test one thing"
    )


def test_mutated_recipes(dose: Dose) -> None:
    ends = {what for r in dose(RecipesHurt) for what in r.ended}
    assert ends == {"values", "text", "planned", "refused"}


def test_codecs(dose: Dose) -> None:
    assert {what for r in dose(Codecs) for what in r.ended} == {"float32", "float16", "int8-affine", "topk"}


def test_a_live_teacher_gives_the_student_of_a_cached_one(dose: Dose) -> None:
    found = {what for r in dose(LiveTeacher) for what in r.ended}
    assert found >= {"torch, partial last batches", "onnx, partial last batches"}, found


def test_damaged_files_of_every_format(dose: Dose) -> None:
    ends = {what for r in dose(LoadersHurt) for what in r.ended}
    assert {what.split(",")[0] for what in ends} == set(LoadersHurt.kinds)
    assert {"refused", "loaded"} == {what.split(": ")[1] for what in ends}
