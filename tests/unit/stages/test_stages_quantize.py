"""The quantize step: what it reads, for whom, and every recipe that cannot work, refused before any compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.pipeline.bits import check_bits
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import build
from potstill.recipe.load import from_text

BASE: dict[str, Any] = {
    "name": "bits",
    "data": {"kind": "digits", "limit": 300},
    "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 4}},
    "student": {"kind": "ds-cnn", "width": 4, "depth": 2},
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}],
}
SOFT = [{"kind": "soft-label"}]


def recipe_of(*steps: dict[str, Any], **changes: Any) -> Any:
    return from_text(
        yaml.safe_dump({**BASE, "steps": [*BASE["steps"], *steps], **changes}, sort_keys=False), "r.yaml", Path()
    )


def nodes_of(recipe: Any, tmp_path: Path) -> dict[str, Any]:
    return build(recipe, StatCache(tmp_path / "digests.json")).nodes


def test_without_objectives_it_reads_the_student_alone(tmp_path: Path) -> None:
    nodes = nodes_of(recipe_of({"kind": "quantize"}), tmp_path)
    for arm in ("student", "hard-label"):
        node = nodes[f"steps/{arm}/seed0/2-quantize"]
        assert node.inputs == {"data": "prepare", "student": f"steps/{arm}/seed0/1-distill"}
        assert node.spec.objectives == ()
    assert nodes["export/onnx"].inputs["student"] == "steps/student/seed0/2-quantize"


def test_trained_it_learns_from_the_store_and_a_control_from_labels(tmp_path: Path) -> None:
    nodes = nodes_of(recipe_of({"kind": "quantize", "objectives": SOFT, "training": {"epochs": 2}}), tmp_path)
    student, control = (nodes[f"steps/{arm}/seed0/2-quantize"] for arm in ("student", "hard-label"))
    assert set(student.inputs) == {"data", "student", "labels"} and student.spec.rows == "all"
    assert set(control.inputs) == {"data", "student"} and control.spec.rows == "labelled"
    assert [o.kind for o in control.spec.objectives] == ["hard-label"]
    assert student.spec.training == control.spec.training


def test_its_own_float_student_may_guide_it(tmp_path: Path) -> None:
    step = {"kind": "quantize", "objectives": SOFT, "guide": "student"}
    node = nodes_of(recipe_of(step), tmp_path)["steps/student/seed0/2-quantize"]
    assert set(node.inputs) == {"data", "student"} and node.spec.live is not None and node.spec.teacher is None


BAD = [
    ({"kind": "quantize", "scheme": "int8"}, "scheme", "int8_static_per_channel"),
    ({"kind": "quantize", "calibration": {"rows": 0}}, "rows", "greater than or equal to 1"),
    ({"kind": "quantize", "calibration": {"method": "max"}}, "method", "min-max"),
    ({"kind": "quantize", "calibration": {"percentile": 40}}, "percentile", "greater than 50"),
    ({"kind": "quantize", "training": {"epochs": 1}}, "training", "no objectives"),
    ({"kind": "quantize", "objectives": SOFT, "training": {"precision": "bfloat16"}}, "precision", "must be float32"),
    ({"kind": "quantize", "guide": "student"}, "guide", "no objective reads any"),
    ({"kind": "quantize", "scheme": "float16", "objectives": SOFT}, "objectives", "int8_static_per_channel or int4_conv"),
    ({"kind": "quantize", "scheme": "float16", "sensitivity": {"max_drop": 1}}, "sensitivity", "float16"),
    ({"kind": "quantize", "scheme": "float16", "float_layers": ["0"]}, "float_layers", "Leave it out"),
    ({"kind": "quantize", "objectives": [{"kind": "feature-l2"}]}, "objectives[0].kind", "Use an objective on outputs"),
    ({"kind": "quantize", "objectives": [{"kind": "token-hard-label"}]}, "objectives[0].kind", "asks for classes"),
    ({"kind": "quantize", "sensitivity": {}}, "max_drop", "required"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "where", "why"), BAD, ids=[f"{where}-{i}" for i, (_, where, _) in enumerate(BAD)])
def test_what_cannot_work_is_refused_at_its_place(step: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(step)
    assert where in str(caught.value) and why in str(caught.value) and "r.yaml:" in str(caught.value)


def test_it_is_the_last_step_and_not_the_first() -> None:
    with pytest.raises(RecipeError, match="must be the last step"):
        recipe_of({"kind": "quantize"}, BASE["steps"][0])
    text = yaml.safe_dump({**BASE, "steps": [{"kind": "quantize"}]}, sort_keys=False)
    with pytest.raises(RecipeError, match="needs a trained student"):
        from_text(text, "r.yaml", Path())


def test_a_layer_that_is_not_there_stops_the_run_before_any_training(tmp_path: Path) -> None:
    recipe = recipe_of({"kind": "quantize", "float_layers": ["3.0.x"]})
    cache = ArtifactCache(tmp_path)
    with pytest.raises(RecipeError, match=r"steps\[1\] quantize\.float_layers.*'3\.0\.x'.*Nearest: '3\.0'"):
        check_bits(build(recipe, cache.digests, cache), cache)
    check_bits(build(recipe_of({"kind": "quantize", "float_layers": ["3.0"]}), cache.digests, cache), cache)
    assert not list(tmp_path.glob("artifacts/*")), "nothing was made"


def test_a_writer_is_refused() -> None:
    text = (Path(__file__).resolve().parents[3] / "recipes" / "multi30k.yaml").read_text()
    value = yaml.safe_load(text)
    value["data"] = {"kind": "parallel", "train": {"source": __file__, "target": __file__}}
    value["steps"].append({"kind": "quantize"})
    with pytest.raises(RecipeError, match=r"token by token .*Leave this step out"):
        from_text(yaml.safe_dump(value), "r.yaml", Path())
