"""`objectives: auto`: a race on one store from one start, whatever interrupts it; then the student or the control."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core import artifact, atomic
from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.augment.shift import ShiftSpec
from potstill.data.dataset import Dataset, prepare
from potstill.labels.codecs.topk import TopKSpec
from potstill.labels.spec import LabelsSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.objectives import registry as objectives
from potstill.objectives.hard_label import HardLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.stages import RunOptions, StageContext, StageSpec, StepJob
from potstill.stages import _auto as auto
from potstill.stages.choose import ChooseStage
from potstill.stages.distill import AutoDistillStage, DistillStep
from potstill.stages.label import LabelStage
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers.object import object_teacher
from potstill.teachers.train import TrainedTeacherSpec
from potstill.testing import check_step, tiny
from potstill.testing.modules import plain
from potstill.train import loop
from potstill.train.loop import Fit, Trainer

NUM, LABELLED, EPOCHS, BATCH = 330, 150, 2, 20
STEPS = EPOCHS * 11
"""Of 219 training rows."""
STUDENT = DsCnnSpec(width=4, depth=1, downsample=1)
TEACHER = object_teacher(plain())
GATE = {"gate": {"accuracy": 0.97, "num_rows": 45}, "profile": {"params": 50_000}}
JOB = StepJob(
    task=ImageClassificationSpec(), student=STUDENT, teacher=TEACHER, labels=LabelsSpec(views=2), augment=(ShiftSpec(pixels=1),),
    seed=0, augment_seed=4, control=None, controls=("hard-label",),
)  # fmt: skip
TRAINING = TrainSpec(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.02)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished artifacts: data with few labels, what is known of a teacher, and its labels."""
    root = tmp_path_factory.mktemp("auto")
    folders = {name: root / name for name in ("data", "teacher", "labels")}
    for folder in folders.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(NUM), labelled=LABELLED, validation=0.3), folders["data"], Progress("quiet"))
    artifact.seal(folders["data"], {"name": "data"})
    artifact.seal(folders["teacher"], {"name": "teacher", "facts": GATE})
    stage = LabelStage(teacher=TEACHER, labels=JOB.labels, augment=JOB.augment, augment_seed=4)
    stage.run(context(folders["labels"], data=folders["data"], teacher=folders["teacher"]))
    return folders


def context(work: Path, every: float = 1e9, **inputs: Path) -> StageContext:
    work.mkdir(exist_ok=True)
    return StageContext("stage", inputs, work, RunOptions(cache=work, checkpoint_every_s=every))


def stage_of(objectives: Any = "auto", training: TrainSpec = TRAINING, **changes: Any) -> StageSpec:
    return DistillStep(objectives=objectives, training=training).stage(replace(JOB, **changes))


def left(work: Path) -> dict[str, str]:
    """Return the digest of every file but the records of time spent."""
    files = [p for p in work.rglob("*") if p.is_file() and p.name not in ("log.jsonl", "fit.json")]
    return {p.relative_to(work).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def run(made: dict[str, Path], tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Path]]:
    """run(name, stage) -> (facts, folder): the stage, given only the inputs that it says it needs."""

    def go(
        name: str, stage: StageSpec | None = None, every: float = 1e9, **inputs: Path
    ) -> tuple[dict[str, Any], Path]:
        stage = stage or stage_of()
        given = {k: v for k, v in {**made, **inputs}.items() if k in stage.inputs_needed()}
        return stage.run(context(tmp_path / name, every, **given)), tmp_path / name

    return go


def test_the_winner_is_what_it_would_be_alone_and_losers_take_a_fifth_at_most(run: Any) -> None:
    facts, folder = run("race")
    race = facts["race"]
    assert facts["steps"] == STEPS and race["first_part"] == 2 and race["extra_steps"] == 4 <= STEPS / 5
    assert [c["steps"] for c in race["candidates"]] == [2, 2, 2] and race["validation_rows"] == 45
    (won,) = [c for c in race["candidates"] if c["won"]]
    assert won["score"] == max(c["score"] for c in race["candidates"])
    assert {p.name for p in folder.iterdir()} == {"student.safetensors", "student.json", "fit.json", "log.jsonl"}
    for found in race["candidates"]:
        stated = [objectives[o["kind"]].model_validate(o) for o in found["objectives"]]
        alone, other = run(found["name"], stage_of(stated))
        assert (left(folder) == left(other)) == found["won"], found["name"]
        if found["won"]:
            ours, theirs = (
                [json.loads(x) for x in (f / "log.jsonl").read_text().splitlines()] for f in (folder, other)
            )
            assert [r["loss"] for r in ours] == [r["loss"] for r in theirs]
            assert {k: v for k, v in facts.items() if k not in ("race", "seconds")} == {
                k: v for k, v in alone.items() if k != "seconds"
            }


def test_candidates_share_store_start_and_order(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[Fit] = []
    starts: list[bytes] = []

    class Seen(Trainer):
        def __init__(self, fit: Fit) -> None:
            fits.append(fit)
            starts.append(b"".join(v.numpy().tobytes() for v in fit.module.state_dict().values()))
            super().__init__(fit)

    monkeypatch.setattr("potstill.train.race.Trainer", Seen)
    run("race")
    assert len(fits) == 3 + 1 and len({fit.work for fit in fits}) == 3 and len(set(starts)) == 1
    for name in ("store", "num_steps", "seed", "augment_seed", "training", "num_views", "rows", "augment"):
        first = getattr(fits[0], name)
        assert all(getattr(fit, name) is first or getattr(fit, name) == first for fit in fits), name
    assert fits[0].num_steps == STEPS and fits[0].rows is None


def test_what_the_rules_read_comes_from_the_gate_and_the_store(made: dict[str, Path], run: Any) -> None:
    known = run("known")[0]["race"]["known"]
    dataset = Dataset.open(made["data"])
    train = dataset.splits["train"]
    assert known["num_classes"] == 10 and known["labelled"] == pytest.approx(105 / len(train))
    assert known["teacher_accuracy"] == 0.97 and known["same_family"] is None
    assert known["capacity"] == pytest.approx(50_000 / 178, rel=0.5) and 0 <= known["calibration_error"] <= 1
    family = stage_of(teacher=TrainedTeacherSpec(model=STUDENT))
    assert isinstance(family, AutoDistillStage) and family.same_family is True


def test_a_sure_teacher_that_says_another_class_is_noise() -> None:
    values = np.log(np.array([[0.95, 0.05], [0.95, 0.05], [0.8, 0.2], [0.05, 0.95]]))
    assert auto._contradicted(values, np.array([1, 0, 1, 1])) == 0.25


class Killed(Exception):
    """Stands for a process that is gone."""


@pytest.fixture(scope="module")
def whole(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, str]]:
    """The race of an undisturbed run, and the digests of what it left."""
    folder = tmp_path_factory.mktemp("whole")
    return stage_of().run(context(folder, **made))["race"], left(folder)


@pytest.mark.parametrize("points", [(0,), (1, 2), (3, 5, 7), (6, 15), (25,)], ids=str)
def test_killed_at_any_step_it_ends_in_the_same_bits(
    run: Any, whole: Any, monkeypatch: pytest.MonkeyPatch, points: Any
) -> None:
    step, count = Trainer._step, [0]

    def counting(trainer: Trainer, number: int) -> Any:
        count[0] += 1
        if count[0] - 1 in points:
            raise Killed
        return step(trainer, number)

    monkeypatch.setattr(loop.Trainer, "_step", counting)
    for _ in points:
        with pytest.raises(Killed):
            run("parts", every=0)
    facts, other = run("parts", every=0)
    assert (facts["race"], left(other)) == whole
    assert count[0] == STEPS + 4 + len(points), "a step that was saved is not taken again"


@pytest.mark.parametrize("at", ["score.json", "log.jsonl", "student.json", "race"])
def test_killed_between_two_files_it_ends_in_the_same_bits(
    run: Any, whole: Any, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    with monkeypatch.context() as patched:
        for module, name in ((atomic, "write_bytes"), (auto.shutil, "rmtree")):
            act = getattr(module, name)

            def stopping(path: Path, *args: Any, act: Any = act, **kwargs: Any) -> Any:
                if path.name == at:
                    raise Killed
                return act(path, *args, **kwargs)

            patched.setattr(module, name, stopping)
        with pytest.raises(Killed):
            run("parts")
    facts, other = run("parts")
    assert (facts["race"], left(other)) == whole


def test_too_few_validation_rows_take_the_first_candidate(made: dict[str, Path], run: Any, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    prepare(arrays(*tiny.pictures(NUM), labelled=LABELLED, validation=0.15), few, Progress("quiet"))
    artifact.seal(few, {"name": "data"})
    labels = tmp_path / "few-labels"
    label = LabelStage(teacher=TEACHER, labels=JOB.labels, augment=JOB.augment, augment_seed=4)
    label.run(context(labels, data=few, teacher=made["teacher"]))
    race = run("race", data=few, labels=labels)[0]["race"]
    assert race["decided_by"].startswith("first of the rules: 22 labelled validation rows decide nothing")
    assert [(c["steps"], c["won"]) for c in race["candidates"]] == [(0, True), (0, False), (0, False)]
    assert race["first_part"] == race["extra_steps"] == 0


def test_a_training_too_short_for_a_race_has_none(run: Any) -> None:
    race = run("short", stage_of(training=TrainSpec(epochs=1, batch_size=60)))[0]["race"]
    assert "steps are too few" in race["decided_by"] and race["extra_steps"] == 0


def test_without_labelled_validation_rows_it_is_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Dataset.open

    def unlabelled(folder: Path) -> Dataset:
        found = opened(folder)
        validation = replace(found.splits["validation"], labels=np.full(45, -1))
        return replace(found, splits={**found.splits, "validation": validation})

    monkeypatch.setattr(Dataset, "open", unlabelled)
    with pytest.raises(DataError, match=r"auto chooses on labelled validation rows; the data has none\. Give"):
        run("none")


def test_a_step_that_chooses_keeps_the_contract_and_its_controls_are_what_they_were() -> None:
    check_step(DistillStep(objectives="auto"))
    stated = DistillStep(objectives=(HardLabelSpec(),), training=TRAINING)
    assert stage_of(control="hard-label") == stated.stage(replace(JOB, control="hard-label"))
    assert stage_of().kind == "auto-distill" and not DistillStep(objectives="auto").faults(JOB)


def test_what_auto_needs_is_said_before_any_compute() -> None:
    topk = LabelsSpec(codec=TopKSpec(k=3, temperatures=(2.0,)), mode="live")
    faults = DistillStep(objectives="auto").faults(replace(JOB, controls=("label-smoothing",), labels=topk))
    assert [path for path, _ in faults] == [("objectives",)] * 3
    for (_, text), words in zip(
        faults, ("Add hard-label to controls", "labels.mode: stored", "Add 1.0 to"), strict=True
    ):
        assert words in text


@pytest.fixture
def finished(run: Any) -> dict[str, Path]:
    """The worse and the better of two finished students, by their validation rows."""
    folders, scores = {}, {}
    for steps, training in ((STEPS, TRAINING), (1, TrainSpec(epochs=1, batch_size=300, learning_rate=1e-6))):
        facts, folder = run(str(steps), stage_of((HardLabelSpec(),), training))
        artifact.seal(folder, {"facts": {**facts, "race": "of this arm"}})
        scores[facts["best_validation"]] = folder
    assert len(scores) == 2
    folders["worse"], folders["better"] = scores[min(scores)], scores[max(scores)]
    return folders


@pytest.mark.parametrize(
    ("student", "control", "teacher", "chosen"),
    [("better", "worse", 0.97, "student"), ("worse", "better", 0.97, "control"),
     ("better", "better", 0.97, "student"), ("better", "better", 0.0, "control")],
    ids=["better", "worse", "level, few labels", "level, a teacher that knows nothing"],
)  # fmt: skip
def test_the_student_is_kept_only_where_it_is_judged_better(
    run: Any, finished: dict[str, Path], tmp_path: Path, student: str, control: str, teacher: float, chosen: str
) -> None:
    inputs = {"student": finished[student], "control": finished[control], "teacher": tmp_path / "gate"}
    inputs["teacher"].mkdir()
    artifact.seal(inputs["teacher"], {"name": "teacher", "facts": {"gate": {"accuracy": teacher}}})
    facts, folder = run("chosen", ChooseStage(task=JOB.task), **inputs)
    choice = facts["choice"]
    assert choice["chosen"] == chosen and choice["validation_rows"] == 45
    for arm in ("student", "control"):
        trained = artifact.manifest(inputs[arm])["facts"]
        assert choice[arm] == trained["best_validation"] or trained["best_step"] != trained["steps"]
    assert (
        f"{choice['student']:.4f} of the student against {choice['control']:.4f} of the control on 45" in choice["why"]
    )
    for name in ("student.safetensors", "student.json"):
        assert (folder / name).read_bytes() == (inputs[chosen] / name).read_bytes()
    assert facts["steps"] == int(inputs[chosen].name) and "race" not in facts
