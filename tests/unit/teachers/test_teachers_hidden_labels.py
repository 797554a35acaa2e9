"""Whether a teacher knows labels that its student may not see: yes, no, or nobody here can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.models.resnet import ResNetSpec
from potstill.teachers import TeacherSpec
from potstill.teachers.ensemble import EnsembleSpec
from potstill.teachers.onnx import OnnxTeacherSpec
from potstill.teachers.train import TrainedTeacherSpec

ALL = TrainedTeacherSpec(model=ResNetSpec(depth=8), labels="all")
LABELLED = TrainedTeacherSpec(model=ResNetSpec(depth=8))


@pytest.mark.parametrize(
    ("with_all", "with_foreign", "said"),
    [(False, False, False), (True, False, True), (False, True, None), (True, True, True)],
)
def test_an_ensemble_says_what_its_members_know(
    tmp_path: Path, with_all: bool, with_foreign: bool, said: bool | None
) -> None:
    (tmp_path / "m.onnx").touch()
    members: list[TeacherSpec] = [LABELLED, LABELLED]
    members += [ALL] * with_all + [OnnxTeacherSpec(path=tmp_path / "m.onnx")] * with_foreign
    assert EnsembleSpec(members=tuple(members)).saw_hidden_labels() is said
