"""Features that are stored: what the teacher gives within the codec's rounding, read for a student without the teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from potstill.core import artifact
from potstill.core.errors import StoreError, TeacherError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.augment import make_batch
from potstill.data.augment.mixup import MixupSpec
from potstill.data.augment.shift import ShiftSpec
from potstill.data.dataset import Dataset, prepare
from potstill.labels.codecs.float16 import Float16Spec
from potstill.labels.codecs.float32 import Float32Spec
from potstill.labels.spec import FeaturesSpec, LabelsSpec
from potstill.labels.store import LabelStore
from potstill.labels.writer import check
from potstill.models.ds_cnn import DsCnnSpec
from potstill.objectives.attention_kl import AttentionKlSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.rkd import RkdSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.stages import RunOptions, StageContext, StepJob
from potstill.stages.distill import DistillStage, DistillStep
from potstill.stages.features import FeaturesStage
from potstill.taps import TapPair
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers.object import object_teacher
from potstill.testing import tiny
from potstill.testing.modules import plain
from potstill.train.features import LiveTeacher, StoredTeacher

NUM, VIEWS = 130, 2
AUGMENT = (ShiftSpec(pixels=1), MixupSpec())
MODULE = plain()
TEACHER = object_teacher(MODULE)
PLACES = {"conv": (4, 8, 8), "head": (10,)}


def context(folder: Path, **inputs: Path) -> StageContext:
    folder.mkdir(exist_ok=True)
    return StageContext("features", inputs, folder, RunOptions(cache=folder))


def stage_of(place: str, **changes: Any) -> FeaturesStage:
    given = {"place": place, "shape": PLACES[place], "views": VIEWS, "augment": AUGMENT, "augment_seed": 4, **changes}
    return FeaturesStage(teacher=changes.pop("teacher", TEACHER), **{k: v for k, v in given.items() if k != "teacher"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished artifacts: data, the teacher, and a store of each place."""
    root = tmp_path_factory.mktemp("features")
    folders = {name: root / name for name in ("data", "teacher")}
    for folder in folders.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(NUM)), folders["data"], Progress("quiet"))
    for name, folder in folders.items():
        artifact.seal(folder, {"name": name})
    for place in PLACES:
        folders[f"features:{place}"] = root / place
        facts = stage_of(place).run(context(root / place, data=folders["data"], teacher=folders["teacher"]))
        assert facts["place"] == place and facts["shape"] == list(PLACES[place]) and facts["views"] == VIEWS
    return folders


def live_teacher(made: dict[str, Path]) -> LiveTeacher:
    data = Dataset.open(made["data"])
    labeller: Any = TEACHER.load(made["teacher"], tiny.IO, data.stats)
    return LiveTeacher(labeller.module, labeller.preprocess)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_what_is_read_is_what_the_teacher_gives_but_for_half_precision(made: dict[str, Path], place: str) -> None:
    """Rows of another batch than the one they were written in, shuffled, of both views."""
    split = Dataset.open(made["data"]).splits["train"]
    store = LabelStore.open(made[f"features:{place}"])
    live = live_teacher(made)
    stored = StoredTeacher({place: store})
    places = [p for p in live.places(torch.zeros(2, 1, 8, 8)) if p.name == place]
    rows = np.random.default_rng(0).permutation(len(split))[:37].astype(np.int64)
    read = []
    for view in range(VIEWS):
        pixels = make_batch(split, rows, view, AUGMENT, 4).inputs_BX
        ours = stored.reader(stored.places(pixels))(pixels, view, rows)[place]
        theirs = live.reader(places)(pixels, view, rows)[place]
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape == (37, *PLACES[place])
        error = (ours - theirs).abs()
        assert (error <= theirs.abs() * 2.0**-11 + 2.0**-24 + 1e-6 * theirs.abs().max()).all() and error.any()
        read.append(ours)
    assert not torch.equal(*read), "views differ"
    stated = store.manifest["error"]["absolute"]["max"]
    assert 0 < stated <= float(torch.stack(read).abs().max()) * 2.0**-10


def test_float32_keeps_the_bits_of_the_canonical_batches(made: dict[str, Path], tmp_path: Path) -> None:
    split = Dataset.open(made["data"]).splits["train"]
    inputs = {"data": made["data"], "teacher": made["teacher"]}
    stage_of("conv", codec=Float32Spec(), augment=()).run(context(tmp_path / "store", **inputs))
    store = LabelStore.open(tmp_path / "store")
    rows = np.arange(64)
    pixels = make_batch(split, rows, 0, (), 0).inputs_BX
    with torch.inference_mode():
        expected = MODULE.get_submodule("conv")(live_teacher(made).preprocess(pixels))
    assert np.array_equal(store.values(0, rows).reshape(64, 4, 8, 8), expected.numpy())


def test_values_that_half_precision_cannot_hold_are_refused_at_writing(made: dict[str, Path], tmp_path: Path) -> None:
    module = plain()
    with torch.no_grad():
        module.get_submodule("conv").bias.fill_(7e4)  # type: ignore[operator,union-attr]
    inputs = {"data": made["data"], "teacher": made["teacher"]}
    loud = object_teacher(module)
    with pytest.raises(StoreError, match=r"rows 0 to 63 of view 0: codec: .* must lie within ±65504; got 7.*float32"):
        stage_of("conv", teacher=loud).run(context(tmp_path / "a", **inputs))
    stage_of("conv", teacher=loud, codec=Float32Spec()).run(context(tmp_path / "b", **inputs))
    with torch.no_grad():
        module.get_submodule("conv").bias.fill_(torch.nan)  # type: ignore[operator,union-attr]
    with pytest.raises(StoreError, match="must be finite; got NaN or Inf for row 0, view 0"):
        stage_of("conv", teacher=loud).run(context(tmp_path / "c", **inputs))


def test_a_place_that_is_not_as_the_dry_run_found_it_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    for place, shape, got in (("conv", (4, 4, 4), r"\[4, 8, 8\]"), ("nowhere", (4, 8, 8), "None")):
        stage = FeaturesStage(teacher=TEACHER, place=place, shape=shape)
        with pytest.raises(TeacherError, match=f"at '{place}', as its dry run did; got {got}"):
            stage.run(context(tmp_path, data=made["data"], teacher=made["teacher"]))


def test_another_place_or_teacher_does_not_go_on_from_half_done_shards(made: dict[str, Path], tmp_path: Path) -> None:
    inputs = {"data": made["data"], "teacher": made["teacher"]}
    stage_of("conv").run(context(tmp_path / "store", **inputs))
    (tmp_path / "store" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="must belong to this store"):
        stage_of("conv", augment_seed=5).run(context(tmp_path / "store", **inputs))
    before = (made["features:conv"] / "manifest.json").read_bytes()
    stage_of("conv").run(context(tmp_path / "store", **inputs))
    assert (tmp_path / "store" / "manifest.json").read_bytes() == before


def test_a_flipped_bit_is_found_and_named_in_every_file(made: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "store"
    draw = np.random.default_rng(5)
    files = sorted(p.relative_to(made["features:conv"]) for p in made["features:conv"].rglob("*") if p.is_file())
    assert [f.as_posix() for f in files if f.suffix == ".safetensors"] == [
        f"features/v{v:03d}-s00000.safetensors" for v in range(VIEWS)
    ]
    for file in files:
        for _ in range(3):
            shutil.copytree(made["features:conv"], folder, dirs_exist_ok=True)
            data = bytearray((folder / file).read_bytes())
            data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
            (folder / file).write_bytes(data)
            assert file.as_posix() in [d.file for d in check(folder)]
            if file.suffix == ".safetensors":
                with pytest.raises(StoreError, match=f"{file.name}.*potstill labels repair"):
                    LabelStore.open(folder)


def step_job(mode: str = "stored") -> StepJob:
    return StepJob(
        task=ImageClassificationSpec(), student=DsCnnSpec(width=4, depth=1, downsample=1), teacher=TEACHER,
        labels=LabelsSpec(views=VIEWS), augment=AUGMENT, seed=0, augment_seed=4, control=None,
        features=FeaturesSpec(mode=mode),
    )  # fmt: skip


PAIRS = (
    FeatureL2Spec(taps=(TapPair(student="2", teacher="conv"),), weight=0.1),
    RkdSpec(taps=(TapPair(student="2", teacher="head"),)),
)


@pytest.fixture
def train(made: dict[str, Path], tmp_path: Path) -> Callable[..., bytes]:
    """train(name, ...) -> the student's file, trained with only the inputs that the stage says it needs."""

    def run(name: str, mode: str = "stored", inputs: dict[str, Path] = made) -> bytes:
        stage = DistillStep(objectives=PAIRS, training=TrainSpec(epochs=3, batch_size=25)).stage(step_job(mode))
        found = {k: v for k, v in inputs.items() if k in stage.inputs_needed()}
        assert ("teacher" in found) == (mode == "live")
        facts = stage.run(context(tmp_path / name, **found))
        shown = facts["taps"]["feature-l2"][0]
        assert (shown["teacher"], shown["teacher_shape"]) == ("conv", [4, 8, 8])
        return (tmp_path / name / "student.safetensors").read_bytes()

    return run


def test_a_student_trains_on_stored_features_without_the_teacher_the_same_each_time(
    train: Callable[..., bytes], made: dict[str, Path]
) -> None:
    first = train("first")
    assert first == train("again") and first != train("live", "live")
    swapped = {**made, "features:conv": made["features:head"]}
    with pytest.raises(StoreError, match="must be features:conv; got those of place 'head'"):
        train("swapped", inputs=swapped)


def test_features_of_other_data_are_refused(train: Callable[..., bytes], made: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "data"
    other.mkdir()
    prepare(arrays(*tiny.pictures(NUM - 10)), other, Progress("quiet"))
    artifact.seal(other, {"name": "data"})
    with pytest.raises(StoreError, match="features:conv must belong to this data"):
        train("other", inputs={**made, "data": other})


def test_a_stage_asks_for_the_stores_of_its_places_and_for_no_teacher() -> None:
    stage = DistillStep(objectives=(*PAIRS, SoftLabelSpec())).stage(step_job())
    assert isinstance(stage, DistillStage) and stage.teacher is None and stage.num_views == VIEWS
    assert set(stage.inputs_needed()) == {"data", "student", "labels", "features:conv", "features:head"}
    assert "teacher" in DistillStep(objectives=PAIRS).stage(step_job("live")).inputs_needed()
    with pytest.raises(ValidationError, match="read by name"):
        DistillStep(objectives=(FeatureL2Spec(),)).stage(step_job())


def test_a_step_is_named_where_it_has_taps_and_is_otherwise_itself() -> None:
    step = DistillStep(objectives=(SoftLabelSpec(), FeatureL2Spec(), RkdSpec(), AttentionKlSpec()))
    asked = []

    def name(number: int, taps: Any, sort: str) -> tuple[TapPair, ...]:
        asked.append((number, taps, sort))
        return (TapPair(student="2", teacher="conv"),)

    named = step.named(name)
    assert asked == [(1, "auto", "stages"), (2, "last", "stages"), (3, "auto", "attention")] and isinstance(
        named, DistillStep
    )
    assert named.terms()[0] == SoftLabelSpec()
    assert {o.needs().taps for o in named.terms()[1:]} == {(TapPair(student="2", teacher="conv"),)}
    auto = DistillStep(objectives="auto")
    assert auto.named(name) == auto and len(asked) == 3


def test_only_a_codec_that_keeps_every_value_will_do() -> None:
    assert FeaturesSpec(mode="stored").codec == Float16Spec() and FeaturesSpec().mode == "live"
    with pytest.raises(ValidationError, match="must keep every value; got 'topk'"):
        FeaturesSpec.model_validate({"mode": "stored", "codec": {"kind": "topk"}})
    with pytest.raises(ValidationError, match="Set mode: stored"):
        FeaturesSpec.model_validate({"codec": {"kind": "float32"}})
    stored = FeaturesSpec(mode="stored", codec=Float32Spec())
    assert FeaturesSpec.model_validate(stored.model_dump(mode="json")) == stored
