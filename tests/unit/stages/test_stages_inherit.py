"""The teacher in the student's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.dataset import Dataset, prepare
from potstill.labels.spec import LabelsSpec
from potstill.models import ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.resnet import ResNetSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import load_model, save_model
from potstill.stages import RunOptions, StageContext, StepJob
from potstill.stages._parts import data_io
from potstill.stages.inherit import InheritStep
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers import TeacherSpec
from potstill.teachers.train import TrainedTeacherSpec
from potstill.teachers.zoo import ZooTeacherSpec
from potstill.testing import tiny

MODEL = ResNetSpec(depth=8, width=4)


def job(teacher: TeacherSpec, student: ModelSpec = MODEL) -> StepJob:
    return StepJob(
        task=ImageClassificationSpec(), student=student, teacher=teacher, labels=LabelsSpec(), augment=(), seed=0,
        augment_seed=0, control=None,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    prepare(arrays(*tiny.pictures(60)), folder, Progress("quiet"))
    return folder


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_student_is_the_teacher_bit_for_bit(tmp_path: Path, data: Path, elsewhere: bool) -> None:
    dataset = Dataset.open(data)
    torch.manual_seed(5)
    teacher = new_model(MODEL, data_io(dataset), dataset.stats)
    kept, work = tmp_path / "teacher", tmp_path / "work"
    kept.mkdir()
    work.mkdir()
    save_model(kept, teacher.module, teacher.spec, teacher.data_io, dataset.classes)
    spec: TeacherSpec = TrainedTeacherSpec(model=MODEL)
    if elsewhere:  # its weights are a file, and its folder holds no model
        weights = (kept / "student.safetensors").rename(tmp_path / "foreign.safetensors")
        (kept / "student.json").unlink()
        spec = ZooTeacherSpec(model=MODEL.model_copy(update={"weights": weights}))
    stage = InheritStep().stage(job(spec))
    facts = stage.run(StageContext("inherit", {"data": data, "teacher": kept}, work, RunOptions(tmp_path / "cache")))
    found = load_model(work)
    wanted = teacher.module.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in found.module.state_dict().items())
    assert facts["steps"] == 0 and facts["profile"]["params"] == sum(p.numel() for p in teacher.module.parameters())
    assert found.spec.weights is None and found.classes == dataset.classes


def test_another_student_or_a_black_box_is_refused() -> None:
    def said(found: list[tuple[Any, str]]) -> str:
        return " ".join(text for _, text in found)

    assert InheritStep().faults(job(TrainedTeacherSpec(model=MODEL))) == []
    other = InheritStep().faults(job(TrainedTeacherSpec(model=MODEL), DsCnnSpec()))
    assert "got kind: ds-cnn of the student, resnet of the teacher" in said(other)
    narrow = InheritStep().faults(job(TrainedTeacherSpec(model=MODEL), ResNetSpec(depth=8, width=2)))
    assert "width: 2 of the student, 4 of the teacher" in said(narrow)
    late = InheritStep().faults(replace(job(TrainedTeacherSpec(model=MODEL)), before=(InheritStep(),)))
    assert "throws away what the steps before did" in said(late)
    turned = ZooTeacherSpec(model=MODEL, class_order=(1, 0, 2))
    assert "its classes in the data's order" in said(InheritStep().faults(job(turned)))
