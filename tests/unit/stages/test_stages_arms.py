"""What a student and its controls are trained on: the same steps, their own rows, and labels that belong to the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core import artifact, atomic
from potstill.core.errors import DataError, StoreError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.augment import make_batch
from potstill.data.augment.shift import ShiftSpec
from potstill.data.dataset import Dataset, prepare
from potstill.labels.spec import LabelsSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import save_model
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.stages import RunOptions, StageContext, StepJob
from potstill.stages._controls import CONTROLS, objectives_of
from potstill.stages._fit import supervised
from potstill.stages._parts import MICRO_BATCH, data_io, label_all, label_batches, labelled_rows, labelled_sample
from potstill.stages.distill import DistillStage, DistillStep
from potstill.stages.label import LabelStage
from potstill.taps import TapPair
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers.object import object_teacher
from potstill.teachers.onnx import OnnxTeacherSpec
from potstill.testing import tiny
from potstill.testing.modules import plain
from potstill.train import loop
from potstill.train.loop import Fit
from potstill.train.order import Order

NUM, LABELLED, EPOCHS, BATCH = 330, 60, 3, 25
STUDENT = DsCnnSpec(width=4, depth=1, downsample=1)
TEACHER = object_teacher(plain())


class Stopped(Exception):
    """Raised in the place of training."""


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """The trainings that were asked for; none is run."""
    seen: list[Fit] = []

    class Recorder:
        def __init__(self, fit: Fit) -> None:
            seen.append(fit)
            raise Stopped

    monkeypatch.setattr(loop, "Trainer", Recorder)
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished artifacts: data with few labels, the teacher, and its labels in two views."""
    root = tmp_path_factory.mktemp("stages")
    folders = {name: root / name for name in ("data", "teacher", "labels")}
    for folder in folders.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(NUM), labelled=LABELLED), folders["data"], Progress("quiet"))
    for name in ("data", "teacher"):
        artifact.seal(folders[name], {"name": name})
    stage = LabelStage(teacher=TEACHER, labels=LabelsSpec(views=2), augment=(ShiftSpec(pixels=1),), augment_seed=4)
    stage.run(context(root, folders["labels"], data=folders["data"], teacher=folders["teacher"]))
    return folders


def context(cache: Path, work: Path, **inputs: Path) -> StageContext:
    return StageContext("stage", inputs, work, RunOptions(cache=cache))


BOTH = (SoftLabelSpec(), HardLabelSpec(weight=0.1))
HINT = FeatureL2Spec(taps=(TapPair(student="2", teacher="conv"),))


def stage_of(control: str | None, mode: str = "stored", seed: int = 0, objectives: Any = BOTH) -> DistillStage:
    step = DistillStep(objectives=objectives, training=TrainSpec(epochs=EPOCHS, batch_size=BATCH))
    job = StepJob(
        task=ImageClassificationSpec(), student=STUDENT, teacher=TEACHER, labels=LabelsSpec(views=2, mode=mode),
        augment=(ShiftSpec(pixels=1),), seed=seed, augment_seed=4, control=control,
    )  # fmt: skip
    stage = step.stage(job)
    assert isinstance(stage, DistillStage)
    return stage


@pytest.fixture
def fit_of(made: dict[str, Path], fits: list[Fit], tmp_path: Path) -> Callable[..., Fit]:
    """fit_of(control) -> the training that this arm's stage asks for, given only the inputs that it says it needs."""

    def ask(control: str | None, **changes: Any) -> Fit:
        stage = stage_of(control, **changes)
        inputs = {k: v for k, v in made.items() if k in stage.inputs_needed()}
        with pytest.raises(Stopped):
            stage.run(context(tmp_path, tmp_path, **inputs))
        return fits[-1]

    return ask


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_takes_the_students_steps_batches_and_start(fit_of: Callable[..., Fit], control: str) -> None:
    ours, theirs = fit_of(None), fit_of(control)
    for name in ("num_steps", "evaluate_every", "training", "augment", "seed", "augment_seed", "classes"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.num_steps == EPOCHS * -(-len(ours.train) // BATCH)
    mine, other = ours.module.state_dict(), theirs.module.state_dict()
    assert all((mine[k] == other[k]).all() for k in mine), "another start"


@pytest.mark.parametrize(
    ("control", "objectives", "rows", "reads"),
    [
        (None, (SoftLabelSpec(), HardLabelSpec(weight=0.1)), "all", True),
        ("hard-label", (HardLabelSpec(),), "labelled", False),
        ("label-smoothing", (HardLabelSpec(smoothing=0.1),), "labelled", False),
        ("hard-pseudo-label", (HardPseudoLabelSpec(),), "all", True),
    ],
)
def test_each_arm_sees_its_own_rows_and_labels(
    fit_of: Callable[..., Fit], control: str | None, objectives: Any, rows: str, reads: bool
) -> None:
    fit = fit_of(control)
    assert tuple(fit.objectives) == objectives
    known = np.flatnonzero(fit.train.labelled)
    assert len(known) + len(fit.validation) == LABELLED
    visited = np.sort(Order(len(fit.train) if fit.rows is None else fit.rows, len(fit.train), 0).at(0)[1])
    assert visited.tolist() == (known.tolist() if rows == "labelled" else list(range(len(fit.train))))
    assert not fit.reveal, "hidden labels stay hidden"
    assert (fit.store is not None) == reads and fit.num_views == (2 if reads else None)


@pytest.mark.parametrize(
    ("objectives", "mode", "inputs", "store"),
    [
        (BOTH, "stored", {"labels"}, "LabelStore"),
        (BOTH, "live", {"teacher"}, "LiveStore"),
        ((*BOTH, HINT), "stored", {"labels", "teacher"}, "LabelStore"),
        ((*BOTH, HINT), "live", {"teacher"}, "LiveStore"),
        ((HINT,), "stored", {"teacher"}, "NoneType"),
    ],
    ids=["stored", "live", "features", "features-live", "features-alone"],
)  # fmt: skip
def test_an_arm_needs_the_teacher_itself_only_where_it_reads_features(
    fit_of: Callable[..., Fit], objectives: Any, mode: str, inputs: set[str], store: str
) -> None:
    stage = stage_of(None, mode, objectives=objectives)
    assert set(stage.inputs_needed()) == {"data", "student"} | inputs
    fit = fit_of(None, mode=mode, objectives=objectives)
    assert (fit.teacher is not None) == (HINT in objectives) and type(fit.store).__name__ == store
    assert fit.rows is None, "all of them: features need no label"
    control = stage_of("hard-label", mode, objectives=objectives)
    assert control.teacher is None and set(control.inputs_needed()) == {"data", "student"}


def test_a_teacher_that_gives_outputs_alone_is_refused_for_features(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").touch()
    job = StepJob(
        task=ImageClassificationSpec(), student=STUDENT, teacher=OnnxTeacherSpec(path=tmp_path / "teacher.onnx"),
        labels=LabelsSpec(), augment=(), seed=0, augment_seed=0, control=None,
    )  # fmt: skip
    ((path, message),) = DistillStep(objectives=(SoftLabelSpec(), HINT)).faults(job)
    assert path == ("objectives", 1, "kind") and "'feature-l2' reads features inside the teacher" in message
    assert "kind 'onnx'" in message and message.endswith("object, torch, train, zoo")
    assert not DistillStep(objectives=(SoftLabelSpec(), HINT)).faults(replace(job, teacher=TEACHER))


def test_seeds_differ_in_start_and_share_augmentation(fit_of: Callable[..., Fit]) -> None:
    first, second = fit_of(None, seed=0), fit_of(None, seed=1)
    assert first.seed != second.seed and first.augment_seed == second.augment_seed == 4
    mine, other = first.module.state_dict(), second.module.state_dict()
    assert any((mine[k] != other[k]).any() for k in mine)


def test_a_live_teacher_gives_what_the_store_holds(fit_of: Callable[..., Fit]) -> None:
    stored, live = fit_of(None), fit_of(None, mode="live")
    assert stored.store is not None and live.store is not None
    rows = np.random.default_rng(0).permutation(len(stored.train))[:50]
    for view in (0, 1):
        ours, theirs = stored.store.read(view, rows), live.store.read(view, rows)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not np.array_equal(stored.store.read(0, rows)["values"], stored.store.read(1, rows)["values"])


def test_labels_of_other_data_are_refused(made: dict[str, Path], fits: list[Fit], tmp_path: Path) -> None:
    prepare(arrays(*tiny.pictures(NUM), labelled=LABELLED, split_seed=9), tmp_path, Progress("quiet"))
    artifact.seal(tmp_path, {"name": "data"})
    with pytest.raises(StoreError, match="labels must belong to this data"):
        stage_of(None).run(context(tmp_path, tmp_path / "work", data=tmp_path, labels=made["labels"]))
    assert not fits


def test_an_earlier_steps_student_is_gone_on_with(made: dict[str, Path], fits: list[Fit], tmp_path: Path) -> None:
    import torch

    dataset = Dataset.open(made["data"])
    torch.manual_seed(99)
    new = new_model(STUDENT, data_io(dataset), dataset.stats)
    save_model(tmp_path, new.module, new.spec, new.data_io, dataset.classes)
    earlier = new.module.state_dict()
    with pytest.raises(Stopped):
        stage_of(None).run(context(tmp_path, tmp_path, data=made["data"], labels=made["labels"], student=tmp_path))
    assert all(torch.equal(v, earlier[k]) for k, v in fits[0].module.state_dict().items())


@pytest.mark.parametrize(("labels", "rows"), [("all", "known"), ("labelled", "labelled")])
def test_a_teacher_is_trained_on_the_labels_it_may_see(
    made: dict[str, Path], fits: list[Fit], tmp_path: Path, labels: str, rows: str
) -> None:
    dataset = Dataset.open(made["data"])
    fit = supervised(context(tmp_path, tmp_path), dataset, ImageClassificationSpec(), (ShiftSpec(pixels=1),), 4)
    with pytest.raises(Stopped):
        fit(STUDENT, TrainSpec(epochs=EPOCHS, batch_size=BATCH), tmp_path, 7, labels)
    asked, train = fits[0], dataset.splits["train"]
    expected = labelled_rows(train) if rows == "labelled" else np.flatnonzero(train.labels >= 0)
    assert np.array_equal(asked.rows, expected) and asked.reveal == (labels == "all")
    assert asked.num_steps == EPOCHS * -(-len(expected) // BATCH) and asked.store is None
    atomic.write_json(tmp_path / "student.json", {})
    fit(STUDENT, TrainSpec(), tmp_path, 7, labels)
    assert len(fits) == 1, "a finished teacher is not trained again"


def test_controls_have_their_stated_losses() -> None:
    assert CONTROLS == ("hard-label", "label-smoothing", "hard-pseudo-label")
    assert [objectives_of(c) for c in CONTROLS] == [
        (HardLabelSpec(),), (HardLabelSpec(smoothing=0.1),), (HardPseudoLabelSpec(),)
    ]  # fmt: skip


def test_the_gate_is_shown_labelled_validation_rows(made: dict[str, Path]) -> None:
    dataset = Dataset.open(made["data"])
    few = replace(dataset, splits={**dataset.splits, "validation": tiny.split(29, 8, 8, 1, hidden=0)})
    many = replace(dataset, splits={**dataset.splits, "validation": tiny.split(60, 8, 8, 1, hidden=20)})
    split, rows = labelled_sample(few, 10, 1)
    assert split is dataset.splits["train"] and len(rows) == 10 and split.labelled[rows].all(), "too few to judge by"
    split, rows = labelled_sample(many, 1000, 1)
    assert split is many.splits["validation"] and rows.tolist() == list(range(40))


def test_no_labelled_row_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.labelled: must leave at least one labelled training row; got 0"):
        labelled_rows(tiny.split(20, hidden=20))


def test_a_teacher_always_sees_whole_micro_batches_of_the_augmented_view() -> None:
    split, seen = tiny.split(150, 8, 8, 1), []

    def labeller(pixels: Any) -> Any:
        seen.append(pixels)
        return pixels.reshape(len(pixels), -1)[:, :10]

    labeller.output, labeller.num_classes = "logits", 10  # type: ignore[attr-defined]
    rows = np.arange(64)
    found = label_batches(labeller, split, (ShiftSpec(pixels=1),), 4)(rows, 3)  # type: ignore[arg-type]
    assert np.array_equal(seen[-1], make_batch(split, rows, 3, (ShiftSpec(pixels=1),), 4).inputs_BX.numpy())
    assert np.array_equal(found, seen[-1].reshape(64, -1)[:, :10])
    seen.clear()
    counted: list[int] = []
    outputs = label_all(labeller, split, counted.append)  # type: ignore[arg-type]
    assert [len(p) for p in seen] == [MICRO_BATCH] * 3 and counted == [64, 64, 22]
    plain_pixels = make_batch(split, np.arange(150), 0, (), 0).inputs_BX.numpy()
    assert np.array_equal(outputs, plain_pixels.reshape(150, -1)[:, :10])
