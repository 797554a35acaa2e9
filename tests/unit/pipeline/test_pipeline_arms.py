"""The recipe of each arm of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import BudgetError, PotstillError
from potstill.core.samples import DataStats
from potstill.models import ModelIO
from potstill.pipeline.arms import CompareSpec, arms_of, budgeted
from potstill.pipeline.compared import _over
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.stages.distill import DistillStep
from potstill.stages.size import SizeStage

SHAPE = DataShape(ModelIO((10,), (1, 8, 8)), 400, 100, 40, None, DataStats((0.5,), (0.25,)))


def recipe(**edits: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "data": {"kind": "digits"},
            "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 8}},
            "student": {"kind": "ds-cnn", "width": 6, "depth": 2, "downsample": 1},
            "steps": [
                {"kind": "distill", "objectives": [{"kind": "soft-label"}], "training": {"epochs": 3, "batch_size": 50}}
            ],
            **edits,
        }
    )


def test_the_control_learns_from_the_truth_and_is_trained_alike() -> None:
    spec = budgeted(recipe(), CompareSpec(arms=("distill",)), SHAPE)
    assert spec.weight_bytes == 4 * 658 and budgeted(recipe(), spec, SHAPE) is spec
    control, distill = arms_of(recipe(), spec, SHAPE)
    assert (control.name, distill.name) == ("control", "distill")
    assert control.recipe.student == distill.recipe.student == recipe().student
    (ours,), (theirs,) = control.recipe.steps, distill.recipe.steps
    assert isinstance(ours, DistillStep) and isinstance(theirs, DistillStep)
    assert [o.kind for o in ours.terms()] == ["hard-label"] and theirs == recipe().steps[0]
    assert ours.training == theirs.training
    assert control.recipe.export == () and control.recipe.controls == ()


def test_a_budget_widens_every_arms_student() -> None:
    for arm in arms_of(recipe(), CompareSpec(arms=("distill",), weight_bytes=20_000), SHAPE):
        assert getattr(arm.recipe.student, "width", 0) > 6


def test_who_is_not_taught_rounds_on_the_truth_alone() -> None:
    train = {"training": {"epochs": 1}}
    steps = [
        {"kind": "distill", "objectives": [{"kind": "soft-label"}], **train},
        {"kind": "prune", "ratio": 0.5, "importance": "l1", "round_to": 4},
        {"kind": "distill", "objectives": [{"kind": "soft-label"}], **train},
        {"kind": "quantize", "scheme": "int4_conv", "objectives": [{"kind": "soft-label"}], **train},
    ]
    spec = CompareSpec(arms=("quantize", "prune", "prune+distill+quantize"), weight_bytes=20_000)
    arms = {arm.name: arm.recipe for arm in arms_of(recipe(steps=steps), spec, SHAPE)}
    kinds = {name: [step.kind for step in arm.steps] for name, arm in arms.items()}
    assert kinds == {
        "control": ["distill"],
        "quantize": ["inherit", "quantize"],
        "prune": ["inherit", "prune", "distill"],
        "prune+distill+quantize": ["inherit", "prune", "distill", "quantize"],
    }
    assert arms["quantize"].student.kind == "resnet"
    assert [o.kind for o in arms["quantize"].steps[-1].terms()] == ["hard-label"]
    assert [o.kind for o in arms["prune+distill+quantize"].steps[-1].terms()] == ["soft-label"]
    assert [o.kind for o in arms["prune"].steps[-1].terms()] == ["hard-label"]
    cuts = [arms[name].steps[1] for name in ("prune", "prune+distill+quantize")]
    assert [(c.importance, c.round_to, c.ratio) for c in cuts] == [("l1", 4, None)] * 2  # type: ignore[attr-defined]
    assert [c.budget.params for c in cuts] == [5_000, 20_000]  # type: ignore[attr-defined]


def measured(chosen: dict[str, Any]) -> tuple[dict[str, SizeStage], Any]:
    """Return (what was asked to be measured, what answers)."""
    asked: dict[str, SizeStage] = {}

    def sized(name: str, stage: SizeStage) -> dict[str, Any]:
        asked[name] = stage
        return {"chosen": chosen}

    return asked, sized


def test_a_latency_chooses_sizes_by_what_is_measured() -> None:
    spec = CompareSpec(arms=("distill", "distill+quantize", "prune", "prune+distill"), latency_ms=0.5)
    assert budgeted(recipe(), spec, SHAPE) is spec
    asked, sized = measured({"numbers": {"width": 9}, "ratio": 0.25})
    own = recipe(export=[{"kind": "onnx"}])
    arms = {arm.name: arm.recipe for arm in arms_of(own, spec, SHAPE, sized)}
    assert list(asked) == ["size/ds-cnn", "size/ds-cnn-int8_static_per_channel", "size/resnet-cut"]
    plain, bits, cut = asked.values()
    assert (plain.scheme, bits.scheme, cut.scheme) == (None, "int8_static_per_channel", None)
    assert plain.cut is None and cut.cut is not None and cut.cut.budget is not None
    assert (cut.cut.budget.device, cut.cut.budget.latency_ms, plain.latency_ms) == ("host", 0.5, 0.5)
    assert cut.reference == plain.reference == own.student and cut.model.kind == "resnet"
    for name in ("control", "distill", "distill+quantize"):
        assert arms[name].student.width == 9  # type: ignore[attr-defined]
    for name in ("prune", "prune+distill"):
        step = arms[name].steps[1]
        assert step.ratio == 0.25 and step.budget is None  # type: ignore[attr-defined]


def test_a_latency_that_cannot_be_kept_names_its_arm() -> None:
    def sized(name: str, stage: SizeStage) -> dict[str, Any]:
        raise BudgetError("student: too slow.")

    spec = CompareSpec(arms=("distill",), latency_ms=0.5)
    with pytest.raises(
        BudgetError, match=r"--arms control: student: too slow\. Give another budget, or leave this arm out"
    ):
        arms_of(recipe(export=[{"kind": "onnx"}]), spec, SHAPE, sized)


def test_an_arm_is_over_a_latency_where_its_whole_interval_is() -> None:
    spec = CompareSpec(latency_ms=0.5)
    for low, over in ((0.49, []), (0.51, ["latency_ms"])):
        took = {"latency_ms": {"median": 0.52, "interval": {"value": 0.52, "low": low, "high": 0.53}}}
        assert _over({"weight_bytes": 10**9, "macs": 10**9, **took}, spec) == over
    assert _over({"weight_bytes": 5, "macs": 5, **took}, CompareSpec(weight_bytes=4)) == ["weight_bytes"]


def test_parts_are_ordered_and_said_once() -> None:
    spec = CompareSpec(arms=("quantize+distill", "distill+quantize", "control", "distill"))
    assert spec.names() == ("control", "distill+quantize", "distill")
    with pytest.raises(PotstillError, match=r"--arms: must join prune, distill, quantize by \+; got 'prun'"):
        CompareSpec(arms=("prun",)).names()
    with pytest.raises(PotstillError, match="--weight-bytes, --latency-ms: one of them must be the budget; got 2"):
        CompareSpec(weight_bytes=1, latency_ms=1).names()


def test_a_teacher_that_is_a_black_box_cannot_be_cut(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").touch()
    black = recipe(teacher={"kind": "onnx", "path": str(tmp_path / "teacher.onnx")})
    with pytest.raises(
        PotstillError, match="begins with the teacher's own weights, and a teacher of kind 'onnx' has none"
    ):
        arms_of(black, CompareSpec(arms=("quantize",), weight_bytes=5_000), SHAPE)
    assert len(arms_of(black, CompareSpec(arms=("distill",), weight_bytes=5_000), SHAPE)) == 2
