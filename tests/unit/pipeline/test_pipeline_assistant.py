"""What an assistant adds to a graph, a plan and the faults of a recipe; and what balance asks of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.pipeline.graph import build
from potstill.pipeline.plan import make_plan
from potstill.recipe.load import from_text
from potstill.recipe.model import Recipe

HEAD = """\
name: assistant
data: {kind: digits, limit: 600, labelled: 120}
teacher: {kind: train, model: {kind: resnet, depth: 8, width: 8}}
student: {kind: ds-cnn, width: 4, depth: 2}
controls: [hard-label, hard-pseudo-label]
seeds: 2
"""
SOFT = "{kind: distill, objectives: [{kind: soft-label}], training: {epochs: 4}}"
ASSIST = "{kind: distill, assistant: {kind: resnet, depth: 8, width: %d}, objectives: [%s]}"
FIRST = ASSIST % (6, "{kind: soft-label}")
HINT = "{kind: distill, objectives: [{kind: feature-l2}]}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def recipe(*steps: str, head: str = HEAD) -> Recipe:
    return from_text(head + "steps:\n" + "".join(f"  - {s}\n" for s in steps), "recipe.yaml", Path())


def inputs(found: Recipe) -> dict[str, Any]:
    return {n.name: n.inputs for n in build(found, StatCache()).nodes.values()}


def test_an_assistant_stands_in_the_teachers_place_for_all_that_follows() -> None:
    found = inputs(recipe(FIRST, SOFT, HINT))
    assert found["assist/1"] == {"data": "prepare", "labels": "label"}
    assert found["label"]["teacher"] == "teach" and found["label/1"]["teacher"] == "assist/1"
    assert found["evaluate/assistant/1"] == {"data": "prepare", "student": "assist/1"}
    for seed in (0, 1):
        at = f"seed{seed}"
        assert found[f"steps/student/{at}/2-distill"] == {"data": "prepare", "labels": "label/1"}
        before = f"steps/student/{at}/2-distill"
        assert found[f"steps/student/{at}/3-distill"] == {"data": "prepare", "teacher": "assist/1", "student": before}
        assert found[f"steps/hard-pseudo-label/{at}/2-distill"]["labels"] == "label/1"
        assert found[f"steps/hard-label/{at}/2-distill"] == {"data": "prepare"}
    assert found["verify/onnx"]["teacher"] == "teach" and not any(n.endswith("1-distill") for n in found)


def test_one_assistant_may_teach_the_next_and_a_step_before_learns_from_the_teacher() -> None:
    found = inputs(recipe(SOFT, FIRST, ASSIST % (4, "{kind: soft-label}"), SOFT))
    assert found["steps/student/seed0/1-distill"]["labels"] == found["assist/2"]["labels"] == "label"
    assert found["assist/3"] == {"data": "prepare", "labels": "label/2"}, "an assistant starts anew"
    assert found["steps/student/seed0/4-distill"]["labels"] == "label/3"
    assert found["steps/student/seed0/4-distill"]["student"] == "steps/student/seed0/1-distill"


def test_labels_that_nobody_reads_are_not_made() -> None:
    found = inputs(recipe(ASSIST % (6, "{kind: hard-label}"), SOFT))
    assert "label" not in found and "label/1" in found
    only_taps = inputs(recipe(FIRST, HINT, head=HEAD.replace(", hard-pseudo-label", "")))
    assert "label" in only_taps and "label/1" not in only_taps
    live = inputs(recipe(FIRST, SOFT, head=HEAD + "labels: {mode: live}\n"))
    assert not any(n.startswith("label") for n in live)
    assert live["assist/1"]["teacher"] == "teach" and live["steps/student/seed0/2-distill"]["teacher"] == "assist/1"


def test_auto_may_choose_among_losses_on_the_assistants_labels() -> None:
    found = inputs(recipe(FIRST, "{kind: distill, objectives: auto}"))
    race = found["steps/student/seed0/2-distill"]
    assert race == {"data": "prepare", "labels": "label/1", "teacher": "assist/1"}
    assert found["steps/student/seed0/3-choose"]["teacher"] == "assist/1"


def test_a_recipe_without_an_assistant_is_as_it_was() -> None:
    found = inputs(recipe(SOFT))
    assert found["label"] == {"data": "prepare", "teacher": "teach"} and "label/1" not in found
    assert not any("assist" in name for name in found)


def test_a_plan_knows_the_assistant_and_what_its_features_are() -> None:
    plan = make_plan(recipe(FIRST, HINT))
    assert list(plan.models) == ["teacher", "assistant 1", "student"]
    sizes = {name: (m or {})["params"] for name, m in plan.models.items()}
    assert sizes["teacher"] > sizes["assistant 1"] > sizes["student"]
    (pairs,) = plan.taps.values()
    assert "to 6 channels" in pairs[0]["joined_by"], pairs
    lines = {line.stage: line for line in plan.lines}
    assert lines["assist/1"].seconds and lines["assist/1"].bytes == 4 * sizes["assistant 1"]


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ((FIRST,), "8:32 steps[0].assistant: nothing learns from this assistant. Add a step after it"),
        ((SOFT, FIRST), "9:32 steps[1].assistant: nothing learns from this assistant"),
        ((FIRST, "{kind: distill, objectives: [{kind: hard-label}]}"), "8:32 steps[0].assistant: nothing learns"),
        ((FIRST, ASSIST % (4, "{kind: hard-label}"), SOFT), "8:32 steps[0].assistant: nothing learns"),
        (("{kind: distill, assistant: {kind: ds-cnn}, objectives: auto}", SOFT),
         "8:60 steps[0].objectives: auto chooses for a student"),
        (("{kind: distill, objectives: auto, balance: {shares: {a: 0.5, b: 0.5}}}",), "8:48 steps[0].balance: needs objectives"),
        ((SOFT.replace("training", "balance: {shares: {soft-label: 1.0}}, training"),),
         "8:73 steps[0].balance.shares: must name at least two terms; got ['soft-label']"),
        ((SOFT.replace("training", "balance: {shares: {soft-label: 0.5, hard-label: 0.6}}, training"),),
         "8:73 steps[0].balance.shares: must add up to 1; got 1.1"),
        ((SOFT.replace("training", "balance: {shares: {soft-label: 0, hard-label: 1}}, training"),),
         "8:73 steps[0].balance.shares: must lie between 0 and 1, ends left out; got soft-label=0"),
    ],
    ids=["alone", "last", "not-read", "next-does-not-read", "auto", "balance-auto", "single", "sum", "nothing"],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(steps: tuple[str, ...], fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(*steps)
    (found,) = caught.value.faults
    assert found.startswith(f"recipe.yaml:{fault}"), found


@pytest.mark.parametrize(
    ("objectives", "shares", "faults"),
    [
        ("{kind: soft-label}, {kind: hard-label}", "{soft-label: 0.5, hrad-label: 0.5}",
         ["must name terms of this step; got 'hrad-label'. Its terms: soft-label, hard-label",
          "must give each term a share; got none for 'hard-label'"]),
        ("{kind: soft-label}, {kind: soft-label, temperature: 2}", "{soft-label-1: 0.5, soft-label-2: 0.5}", []),
        ("{kind: hard-label}, {kind: dkd}", "{hard-label: 0.5, dkd: 0.5}", ["cannot keep a share of 'dkd', whose weight is not"]),
        ("{kind: hard-label}, {kind: soft-label, weight: 0}", "{hard-label: 0.5, soft-label: 0.5}",
         ["cannot keep a share of 'soft-label', whose weight is not"]),
    ],
    ids=["unknown", "numbered", "schedule", "zero"],
)  # fmt: skip
def test_shares_must_be_of_terms_that_can_keep_them(objectives: str, shares: str, faults: list[str]) -> None:
    step = f"{{kind: distill, objectives: [{objectives}], balance: {{shares: {shares}}}}}"
    if not faults:
        recipe(step)
        return
    with pytest.raises(RecipeError) as caught:
        recipe(step)
    assert len(caught.value.faults) == len(faults)
    for found, words in zip(caught.value.faults, faults, strict=True):
        assert f" steps[0].balance.shares: {words}" in found


def test_stored_features_are_those_of_the_teacher() -> None:
    with pytest.raises(RecipeError, match=r"features\.mode: must be live where an assistant teaches; got 'stored'"):
        recipe(FIRST, HINT, head=HEAD + "features: {mode: stored}\n")
