"""What `objectives: auto` adds to a graph and to a plan, and that it adds nothing to other recipes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.pipeline import taps
from potstill.pipeline.graph import build, last_step
from potstill.pipeline.plan import make_plan
from potstill.recipe.load import from_text, load
from potstill.recipe.model import Recipe

ROOT = Path(__file__).resolve().parents[3]
TEXT = """\
name: auto
data: {kind: digits, limit: 600, labelled: 120}
teacher: {kind: train, model: {kind: resnet, depth: 8, width: 8}}
student: {kind: ds-cnn, width: 4, depth: 2}
steps:
  - kind: distill
    objectives: auto
    training: {epochs: 20}
controls: [label-smoothing, hard-label]
seeds: 2
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def recipe(text: str = TEXT) -> Recipe:
    return from_text(text, "recipe.yaml", Path())


def stated(objective: str = "{kind: soft-label}") -> Recipe:
    return recipe(TEXT.replace("objectives: auto", f"objectives: [{objective}]"))


def test_a_recipe_whose_objectives_are_stated_has_the_stages_that_it_had() -> None:
    graph = build(load(ROOT / "recipes" / "digits.yaml"), StatCache())
    arms = ("student", "hard-label", "label-smoothing", "hard-pseudo-label")
    of_arms = [f"{kind}/{arm}/seed{s}" for arm in arms for s in range(3) for kind in ("steps", "evaluate")]
    wanted = ["prepare", "teach", "label", "evaluate/teacher", *of_arms, "export/onnx", "verify/onnx"]
    assert [name.removesuffix("/1-distill") for name in graph.nodes] == wanted
    assert {n.spec.kind for n in graph.named("steps/")} == {"distill"}
    for node in graph.nodes.values():
        used = {name for name in node.parts["sources"] if "choice" in name or "race" in name or "_auto" in name}
        assert not used, f"{node.name} would be stale whenever {used} change"


def test_auto_adds_a_choice_for_each_seed_that_all_that_follows_reads() -> None:
    graph = build(recipe(), StatCache())
    for seed in (0, 1):
        race, choice = (f"steps/student/seed{seed}/{name}" for name in ("1-distill", "2-choose"))
        control = f"steps/hard-label/seed{seed}/1-distill"
        assert graph.nodes[choice].inputs == {
            "data": "prepare",
            "teacher": "teach",
            "student": race,
            "control": control,
        }
        assert graph.nodes[race].inputs == {"data": "prepare", "labels": "label", "teacher": "teach"}
        assert (
            graph.nodes[f"evaluate/student/seed{seed}"].inputs["student"] == choice == last_step(graph, "student", seed)
        )
        assert {"potstill.train.choice", "potstill.train.race"} <= set(graph.nodes[race].parts["sources"])
    assert graph.nodes["export/onnx"].inputs["student"] == "steps/student/seed0/2-choose"
    order = list(graph.nodes)
    assert all(order.index(i) < order.index(n.name) for n in graph.nodes.values() for i in n.inputs.values())
    plain = build(stated(), StatCache())
    shared = set(plain.nodes) - {n for n in plain.nodes if "student" in n or "onnx" in n}
    assert all(plain.nodes[n].key == graph.nodes[n].key for n in shared), "controls and labels are those of any recipe"
    assert {n for n in graph.nodes if n not in plain.nodes} == {f"steps/student/seed{s}/2-choose" for s in (0, 1)}


def test_a_plan_counts_the_losers_steps() -> None:
    def seconds(found: Recipe) -> float:
        lines = {line.stage: line for line in make_plan(found).lines}
        if found.steps[0].chooses():
            choice = lines["steps/student/2-choose ×2"]
            assert choice.bytes and choice.seconds and choice.seconds < 1
        return lines["steps/student/1-distill ×2"].seconds or 0.0

    assert seconds(recipe()) == pytest.approx(1.2 * seconds(stated()))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("label-smoothing, hard-label", "label-smoothing", "7:17 steps[0].objectives: auto keeps the student only where it beats"),
        ("seeds: 2", "labels: {mode: live}", "7:17 steps[0].objectives: auto races candidates on one label store"),
        ("seeds: 2", "labels: {codec: {kind: topk, k: 3, temperatures: [4.0]}}", "7:17 steps[0].objectives: auto reads labels at T=1"),
        ("objectives: auto", "objectives: automatic", "7:17 steps[0].objectives: must be 'auto'; got 'automatic'. Nearest: 'auto'"),
        ("objectives: auto", "objectives: []", "7:17 steps[0].objectives: "),
        ("objectives: auto", "objectives: [auto]", "7:18 steps[0].objectives[0]: "),
        ("objectives: auto", "objectives: [{kind: soft-lable}]", "7:18 steps[0].objectives[0]: kind must be one of"),
        ("objectives: auto", "objectives: [{kind: soft-label, temprature: 2}]", "7:37 steps[0].objectives[0].temprature: is not a field"),
    ],
    ids=["control", "live", "codec", "word", "empty", "in-a-list", "kind", "field"],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(old: str, new: str, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(TEXT.replace(old, new))
    (found,) = caught.value.faults
    assert found.startswith(f"recipe.yaml:{fault}"), found


def test_no_validation_rows_is_an_error_before_any_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = taps.data_shape

    def without(*args: Any) -> Any:
        found = shape(*args)
        assert found is not None and found.validation_rows is None, "digits has no validation split of its own"
        return replace(found, validation_rows=0)

    monkeypatch.setattr(taps, "data_shape", without)
    make_plan(stated())
    with pytest.raises(
        RecipeError, match=r"steps\[0\]\.objectives: auto chooses on validation rows, and the data has none"
    ):
        make_plan(recipe())


def test_each_step_may_choose_and_the_last_choice_comes_once() -> None:
    found = recipe()
    sections = found.model_dump(mode="json")
    sections["steps"] = [*sections["steps"], *copy.deepcopy(sections["steps"])]
    graph = build(Recipe.model_validate(sections), StatCache())
    names = [n.name for n in graph.named("steps/student/seed0/")]
    assert names == [f"steps/student/seed0/{name}" for name in ("1-distill", "2-distill", "3-choose")]
    assert graph.nodes[names[1]].inputs["student"] == names[0]
    assert graph.nodes[names[2]].inputs["control"] == "steps/hard-label/seed0/2-distill"
