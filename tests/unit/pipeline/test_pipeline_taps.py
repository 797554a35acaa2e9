"""Pairs of taps are looked at before anything is computed, and listed for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.core.errors import RecipeError
from potstill.core.progress import Progress
from potstill.pipeline import run as running
from potstill.pipeline import taps
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import build
from potstill.pipeline.plan import make_plan
from potstill.pipeline.taps import tap_report
from potstill.recipe.load import from_text
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions

RECIPE: dict[str, Any] = {
    "name": "taps",
    "data": {"kind": "digits"},
    "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 6}},
    "student": {"kind": "ds-cnn", "width": 4, "depth": 2, "downsample": 1},
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}, {"kind": "feature-l2"}, {"kind": "rkd"}]}],
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def recipe_of(*objectives: dict[str, Any], **changes: Any) -> Recipe:
    steps = [{"kind": "distill", "objectives": list(objectives)}] if objectives else RECIPE["steps"]
    return from_text(yaml.safe_dump({**RECIPE, "steps": steps, **changes}), "recipe.yaml", Path.cwd())


def hint(student: str, teacher: str, kind: str = "feature-l2") -> dict[str, Any]:
    return {"kind": kind, "taps": [{"student": student, "teacher": teacher}]}


def test_a_report_has_places_pairs_and_what_joins_them() -> None:
    found = tap_report(recipe_of(), Progress("quiet"))
    assert found.teacher is not None and not found.faults
    assert ("layer2", (12, 4, 4)) in [(p.name, p.shape) for p in found.teacher]
    assert ("4", (8, 4, 4)) in [(p.name, p.shape) for p in found.student]
    assert [p.name for p in found.auto] == ["2:layer1", "4:layer2"]
    assert list(found.terms) == ["steps[0].objectives[1]", "steps[0].objectives[2]"]
    assert found.terms["steps[0].objectives[1]"][1] == {
        "student": "4", "teacher": "layer2", "joined_by": "1×1 convolution of 8 to 12 channels"
    }  # fmt: skip
    assert found.terms["steps[0].objectives[2]"] == [{"student": "4", "teacher": "layer3", "joined_by": ""}]


def test_every_impossible_pair_is_found_before_any_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(hint("9", "layer1"), hint("5", "layer2", "attention-transfer"), hint("4", "layer2"))

    def forbidden(*_: Any) -> Any:
        raise AssertionError("something was computed")

    monkeypatch.setattr(running, "run_all", forbidden)
    for action in (
        lambda: make_plan(recipe),
        lambda: running.run(recipe, "", tmp_path / "out", RunOptions(tmp_path / "cache"), Progress("quiet")),
    ):
        with pytest.raises(RecipeError) as caught:
            action()
        first, second = caught.value.faults
        assert first.startswith("steps[0].objectives[0].taps[0].student: must name a module of the student")
        assert second.startswith(
            "steps[0].objectives[1] 5:layer2: must be outputs that can be joined; got [8] (a vector)"
        )
        assert "[12, 4, 4] (a picture) of the teacher" in second


def test_a_plan_says_what_is_read_and_that_it_costs_the_teachers_time() -> None:
    plain, tapped = (
        make_plan(recipe_of(*o)) for o in ([{"kind": "soft-label"}], [{"kind": "soft-label"}, {"kind": "rkd"}])
    )
    assert plain.taps == {} and list(tapped.taps) == ["steps[0].objectives[1]"]
    before, after = (
        next(line.seconds for line in p.lines if line.stage == "steps/student/1-distill") for p in (plain, tapped)
    )
    assert before is not None and after is not None and after > 1.5 * before


def said(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["taps", "recipe.yaml", *args], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    return done.exit_code, done.stdout


def test_the_command_lists_both_models_and_marks_pairs(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    code, out = said()
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "8×4×4" in lines["4"] and "↔ layer2" in lines["4"] and "↔ 4" in lines["layer2"]
    assert "↔" not in lines["layer3"] and "24×2×2" in lines["layer3"]
    assert "steps[0].objectives[1] reads 2 ↔ layer1 (1×1 convolution of 4 to 6 channels)" in out
    code, out = said("--json")
    found = json.loads(out)
    assert code == 0 and found["faults"] == []
    assert {"place": "4", "shape": [8, 4, 4], "kind": "Sequential", "auto": "layer2", "overwritten": False} in found[
        "student"
    ]


def test_a_wrong_name_is_told_below_the_list_that_helps_to_mend_it(tmp_path: Path) -> None:
    steps = [{"kind": "distill", "objectives": [hint("4", "layer9")]}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "steps": steps}))
    done = CliRunner().invoke(app, ["taps", "recipe.yaml"])
    assert "layer2.0.conv1" in done.stdout
    assert isinstance(done.exception, RecipeError) and "got 'layer9'. Nearest: 'layer" in str(done.exception)


def test_a_black_box_has_no_places(tmp_path: Path) -> None:
    (tmp_path / "t.onnx").touch()
    recipe = recipe_of({"kind": "soft-label"}, teacher={"kind": "onnx", "path": "t.onnx"})
    assert tap_report(recipe, Progress("quiet")).teacher is None
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(
            {
                **RECIPE,
                "teacher": {"kind": "onnx", "path": "t.onnx"},
                "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}],
            }
        )
    )
    assert "The teacher is no torch module here" in said()[1]
    with pytest.raises(
        RecipeError, match=r"recipe\.yaml:\d+:\d+ steps\[0\]\.objectives\[0\]\.kind: 'rkd' reads features inside"
    ):
        recipe_of({"kind": "rkd"}, teacher={"kind": "onnx", "path": "t.onnx"})


def test_an_objective_that_cannot_teach_two_classes_is_refused_before_any_compute(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 255, (80, 8, 8), dtype=np.uint8), np.arange(80) % 2
    np.savez(tmp_path / "two.npz", x_train=pixels, y_train=labels)
    data = {"kind": "npz", "path": "two.npz", "classes": ["no", "yes"]}
    recipe = recipe_of({"kind": "dkd"}, {"kind": "soft-label"}, {"kind": "dist"}, data=data)
    options = RunOptions(tmp_path / "cache", 1)
    with pytest.raises(RecipeError) as caught:
        running.run(
            recipe, yaml.safe_dump(recipe.model_dump(mode="json")), tmp_path / "out", options, Progress("quiet")
        )
    assert [f.split(":")[0] for f in caught.value.faults] == ["steps[0].objectives[0]", "steps[0].objectives[2]"]
    assert all("cannot teach 2 classes. One" in f or "cannot teach 2 classes. The" in f for f in caught.value.faults)
    assert not list((tmp_path / "cache" / "artifacts").glob("*"))


def test_the_source_is_not_opened_early_where_nothing_depends_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(taps, "data_shape", lambda *args: opened.append(args))
    for objectives, times in (([{"kind": "soft-label"}, {"kind": "hard-label"}], 0), ([{"kind": "dkd"}], 1)):
        cache = ArtifactCache(tmp_path / "cache")
        taps.check_objectives(build(recipe_of(*objectives), cache.digests), cache)
        assert len(opened) == times
