"""The prune step: what it leaves, what trains on from there, and what a recipe may ask of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.core import artifact
from potstill.core.errors import PotstillError
from potstill.core.hashing import digest_bytes
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.dataset import Dataset, Split, prepare
from potstill.labels.spec import LabelsSpec
from potstill.models import ModelSpec
from potstill.models.encoder_decoder import EncoderDecoderSpec
from potstill.models.resnet import ResNetSpec
from potstill.models.tcn import TcnSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import load_model, save_model
from potstill.models.vit import ViTSpec
from potstill.objectives.attention_transfer import AttentionTransferSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.schedules.training import TrainSpec
from potstill.stages import RunOptions, StageContext, StepJob
from potstill.stages.distill import DistillStage, DistillStep
from potstill.stages.inherit import InheritStep
from potstill.stages.prune import PruneStage, PruneStep, _Reader
from potstill.tasks import TaskSpec
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.tasks.multi_label_classification import MultiLabelClassificationSpec
from potstill.tasks.timeseries_forecasting import TimeseriesForecastingSpec
from potstill.tasks.translation import TranslationSpec
from potstill.teachers import TeacherSpec
from potstill.teachers.train import TrainedTeacherSpec
from potstill.testing import tiny
from potstill.train import loop

STUDENT = ResNetSpec(depth=8, width=8)
TEACHER = TrainedTeacherSpec(model=STUDENT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished artifacts: data, and a teacher as its training leaves one."""
    root = tmp_path_factory.mktemp("prune")
    folders = {name: root / name for name in ("data", "teacher")}
    for folder in folders.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(200)), folders["data"], Progress("quiet"))
    torch.manual_seed(5)
    new = new_model(STUDENT, tiny.IO, tiny.STATS)
    with torch.no_grad():
        new.module(new.preprocess(torch.from_numpy(tiny.inputs("image"))))
    save_model(folders["teacher"], new.module, new.spec, new.data_io, [str(k) for k in range(10)])
    for name, folder in folders.items():
        artifact.seal(folder, {"name": name})
    return folders


def job(
    student: ModelSpec = STUDENT,
    teacher: TeacherSpec = TEACHER,
    before: tuple[Any, ...] = (),
    control: str | None = None,
    seed: int = 0,
) -> StepJob:
    return StepJob(
        task=ImageClassificationSpec(), student=student, teacher=teacher, labels=LabelsSpec(), augment=(), seed=seed,
        augment_seed=0, control=control, before=before,
    )  # fmt: skip


def run(stage: Any, work: Path, made: dict[str, Path], **more: Path) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    inputs = {k: v for k, v in {**made, **more}.items() if k in stage.inputs_needed()}
    facts: dict[str, Any] = stage.run(
        StageContext("steps/1-prune", inputs, work, RunOptions(cache=work, checkpoint_every_s=0))
    )
    return facts


def cut(made: dict[str, Path], work: Path, **settings: Any) -> dict[str, Any]:
    given = {"ratio": 0.5, "round_to": 2, "scope": "per-layer", **settings}
    return run(PruneStep(**given).stage(job()), work, made, student=made["teacher"])


def test_the_teacher_cut_is_a_student_of_its_family(made: dict[str, Path], tmp_path: Path) -> None:
    facts = cut(made, tmp_path / "a")
    model, teacher = load_model(tmp_path / "a"), load_model(made["teacher"])
    widths = [m.out_channels for m in model.module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [m.out_channels // 2 for m in teacher.module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert model.spec == teacher.spec and model.data_io == teacher.data_io
    plan = facts["plan"]
    assert (
        facts["steps"] == 0
        and plan["first"] == plan["before"]
        and plan["whole"] == {"linear": "its channels are the model's output"}
    )
    assert facts["profile"]["params"] == plan["after"]["params"] < 0.3 * plan["before"]["params"]
    assert facts["file_bytes"] == plan["after"]["bytes"] == (tmp_path / "a" / "student.safetensors").stat().st_size
    rows = len(Dataset.open(made["data"]).splits["train"])
    assert facts["recalibrated"] == {"layers": 9, "rows": rows}
    json.dumps(facts)


@pytest.mark.parametrize("importance", ["taylor", "random"])
def test_a_cut_is_a_pure_function_of_its_inputs(made: dict[str, Path], tmp_path: Path, importance: str) -> None:
    for name in ("a", "b"):
        cut(made, tmp_path / name, importance=importance)
    for file in ("student.safetensors", "student.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_statistics_are_taken_again_of_training_rows(made: dict[str, Path], tmp_path: Path) -> None:
    cut(made, tmp_path / "a", calibration_rows=64)
    model = load_model(tmp_path / "a")
    reader = _Reader(ImageClassificationSpec(), Dataset.open(made["data"]), model.preprocess)
    with torch.no_grad():
        seen = model.module.conv1(reader.inputs(reader.spread(64)))  # type: ignore[operator]
    assert torch.allclose(model.module.bn1.running_mean, seen.mean((0, 2, 3)), atol=1e-5)  # type: ignore[union-attr, arg-type]


def distilled(made: dict[str, Path], pruned: Path, work: Path) -> DistillStage:
    objectives = (FeatureL2Spec(), AttentionTransferSpec())
    step = DistillStep(objectives=objectives, training=TrainSpec(epochs=2, batch_size=50))
    stage = step.stage(job())
    assert isinstance(stage, DistillStage)
    return stage


def test_what_follows_trains_what_was_left_and_joins_its_features_anew(made: dict[str, Path], tmp_path: Path) -> None:
    cut(made, tmp_path / "pruned")
    stage = distilled(made, tmp_path / "pruned", tmp_path)
    facts = run(stage, tmp_path / "trained", made, student=tmp_path / "pruned")
    for pairs in facts["taps"].values():
        assert [(p["student_shape"][0], p["teacher_shape"][0]) for p in pairs] == [(4, 8), (8, 16), (16, 32)]
    pruned, trained = load_model(tmp_path / "pruned"), load_model(tmp_path / "trained")
    assert trained.sizes == pruned.sizes and facts["profile"]["params"] < 6000
    first = pruned.module.state_dict()
    assert all(v.shape == first[k].shape for k, v in trained.module.state_dict().items())
    assert not torch.equal(trained.module.state_dict()["conv1.weight"], first["conv1.weight"])


def test_an_interrupted_training_of_a_pruned_student_ends_in_the_same_bits(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(made, tmp_path / "pruned")
    stage = distilled(made, tmp_path / "pruned", tmp_path)
    run(stage, tmp_path / "whole", made, student=tmp_path / "pruned")
    step, done = loop.Trainer._step, []

    def interrupted(self: Any, number: int) -> Any:
        if number == 3 and not done:
            done.append(number)
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(loop.Trainer, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(stage, tmp_path / "resumed", made, student=tmp_path / "pruned")
    assert not (tmp_path / "resumed" / "student.safetensors").exists()
    run(stage, tmp_path / "resumed", made, student=tmp_path / "pruned")
    digests = [digest_bytes((tmp_path / n / "student.safetensors").read_bytes()) for n in ("whole", "resumed")]
    assert done and digests[0] == digests[1]


def test_a_second_cut_counts_from_the_model_of_the_recipe(made: dict[str, Path], tmp_path: Path) -> None:
    first = cut(made, tmp_path / "a", ratio=0.25)
    stage = PruneStep(ratio=0.5, round_to=2, scope="per-layer").stage(job())
    second = run(stage, tmp_path / "b", made, student=tmp_path / "a")
    assert second["plan"]["before"] == first["plan"]["after"] and second["plan"]["first"] == first["plan"]["before"]
    assert load_model(tmp_path / "b").module.conv1.out_channels == 4  # type: ignore[union-attr]
    with pytest.raises(PotstillError, match="must cut something"):
        run(
            PruneStep(ratio=0.25, round_to=2, scope="per-layer").stage(job()),
            tmp_path / "c",
            made,
            student=tmp_path / "a",
        )


def test_a_control_is_cut_as_its_student_is() -> None:
    step = PruneStep(ratio=0.5)
    assert step.stage(job()) == step.stage(job(control="hard-label"))
    assert PruneStep(ratio=0.5).stage(job()).inputs_needed() == ("data", "student")


HALF = PruneStep(ratio=0.5)
TRAIN = DistillStep(objectives=({"kind": "soft-label"},))


@pytest.mark.parametrize(
    ("step", "given", "path", "told"),
    [
        (HALF, {}, ("kind",), "cuts the student before anything trained it"),
        (PruneStep(ratio=0.4), {"before": (TRAIN, HALF)}, ("ratio",), "must be more than 0.5, that of the prune step before; got 0.4"),
        (PruneStep(budget={"macs": 0.3}), {"before": (TRAIN, PruneStep(budget={"macs": 0.2}))}, ("budget", "macs"), "must be less than 0.2"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_runs(
    step: PruneStep, given: dict[str, Any], path: Any, told: str
) -> None:
    ((found, message),) = step.faults(job(**given))
    assert found == path and told in message


@pytest.mark.parametrize(
    ("step", "given"),
    [
        (HALF, {"before": (InheritStep(),)}),
        (HALF, {"before": (TRAIN,)}),
        (PruneStep(ratio=0.6), {"before": (TRAIN, HALF)}),
        (PruneStep(budget={"macs": 0.3}), {"before": (TRAIN, HALF)}),
        (HALF, {"before": (InheritStep(), PruneStep(ratio=0.2))}),
    ],
)
def test_what_can_be_has_no_fault(step: PruneStep, given: dict[str, Any]) -> None:
    assert step.faults(job(**given)) == []


def test_a_student_with_weights_may_be_cut_first(tmp_path: Path, made: dict[str, Path]) -> None:
    shutil.copy(made["teacher"] / "student.safetensors", tmp_path / "w.safetensors")
    student = ResNetSpec(depth=8, width=8, weights=tmp_path / "w.safetensors")
    assert HALF.faults(job(student=student)) == []
    run(PruneStep(ratio=0.5, round_to=2).stage(job(student=student)), tmp_path / "a", made)
    assert load_model(tmp_path / "a").spec.weights is None


@pytest.mark.parametrize(
    ("task", "model", "targets"),
    [
        (
            MultiLabelClassificationSpec(),
            ViTSpec(dim=16, depth=1, heads=2, patch=4),
            lambda n: np.eye(10, dtype=np.float32)[np.arange(n) % 10],
        ),
        (TimeseriesForecastingSpec(), TcnSpec(width=8, depth=2), lambda n: np.ones((n, 12, 2), np.float32)),
        (TranslationSpec(), EncoderDecoderSpec(dim=16), lambda n: tiny.samples("text", n, 5)),
    ],
    ids=["flags", "values", "tokens"],
)
def test_taylor_takes_the_gradient_of_each_tasks_own_loss(task: TaskSpec, model: Any, targets: Any) -> None:
    kind = model.input.kind
    plain_split = tiny.split_of(tiny.samples(kind, 40) if kind != "image" else tiny.pictures(40)[0], kind)
    fields = {f: getattr(plain_split, f) for f in ("samples", "labels", "labelled", "ids", "digests", "kind")}
    split = Split(**fields, targets=targets(40))
    output = {"flags": "classes"}.get(task.output, task.output)
    new = new_model(model, tiny.io_for(kind, output), tiny.stats_for(kind))  # type: ignore[arg-type]
    dataset: Any = type("Data", (), {"splits": {"train": split}})
    found = _Reader(task, dataset, new.preprocess).gradients(new.module, 30)
    idle = [name for name, p in new.module.named_parameters() if name not in found or not bool(found[name].any())]
    assert not idle, "every parameter has a gradient"


def test_a_stage_is_valid_only_with_one_target() -> None:
    with pytest.raises(ValueError, match="must have exactly one of ratio and budget; got neither"):
        PruneStage(task=ImageClassificationSpec(), student=STUDENT)
