"""What prune steps are in a graph, and what is tried before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.core import extras
from potstill.core.errors import BudgetError, MissingExtraError, PotstillError, RecipeError
from potstill.core.hashing import StatCache
from potstill.pipeline import cuts
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import build
from potstill.pipeline.plan import make_plan
from potstill.recipe.load import from_text
from potstill.recipe.model import Recipe
from potstill.stages.prune import PruneStage

HEAD = """\
name: prune
data: {kind: digits, limit: 600, labelled: 120}
teacher: {kind: train, model: {kind: resnet, depth: 8, width: 8}}
student: {kind: resnet, depth: 8, width: 8}
seeds: 2
"""
BEGIN = "{kind: inherit}"
CUT = "{kind: prune, budget: {params: 0.6}, round_to: 2, importance: taylor}"
AGAIN = "{kind: prune, budget: {params: 0.3}, round_to: 2}"
SOFT = "{kind: distill, objectives: [{kind: soft-label}], training: {epochs: 4}}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactCache:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return ArtifactCache(tmp_path / "cache")


def recipe(*steps: str, head: str = HEAD) -> Recipe:
    return from_text(head + "steps:\n" + "".join(f"  - {s}\n" for s in steps), "recipe.yaml", Path())


def test_every_arm_cuts_its_own_student_and_labels_are_written_once() -> None:
    found = {n.name: n for n in build(recipe(BEGIN, CUT, SOFT, AGAIN, SOFT), StatCache()).nodes.values()}
    for arm in ("student", "hard-label"):
        for seed in (0, 1):
            at = f"steps/{arm}/seed{seed}"
            assert found[f"{at}/1-inherit"].inputs == {"data": "prepare", "teacher": "teach"}
            assert found[f"{at}/2-prune"].inputs == {"data": "prepare", "student": f"{at}/1-inherit"}
            assert found[f"{at}/3-distill"].inputs["student"] == f"{at}/2-prune"
            assert found[f"{at}/4-prune"].inputs == {"data": "prepare", "student": f"{at}/3-distill"}
            assert found[f"evaluate/{arm}/seed{seed}"].inputs["student"] == f"{at}/5-distill"
    assert [n for n in found if n.startswith("label")] == ["label"]
    sources = found["steps/student/seed0/2-prune"].parts
    assert "potstill.compress._trace" in sources["sources"] and "torch_pruning" in sources["versions"]
    assert not any(name.startswith("potstill.compress.") for name in found["label"].parts["sources"])


def test_the_plan_says_what_each_step_would_leave(cache: ArtifactCache) -> None:
    plan = make_plan(recipe(BEGIN, CUT, SOFT, AGAIN, SOFT))
    assert [c.step for c in plan.cuts] == [1, 3]
    for found, share in zip(plan.cuts, (0.6, 0.3), strict=True):
        assert found.plan["after"]["params"] <= share * found.plan["first"]["params"]
        assert found.text().startswith(f"steps[{found.step}] prune: about {found.plan['after']['params']:,} of ")
        assert "whole stay linear (its channels are the model's output)." in found.text()
    assert plan.cuts[1].plan["before"] == plan.cuts[0].plan["after"]
    assert plan.as_dict()["cuts"][0]["step"] == 1
    assert [line.seconds for line in plan.lines if line.stage.startswith("steps/student/2-prune")] == [5.0]
    assert sum(line.seconds or 0 for line in plan.lines if line.stage.startswith("steps/student/1-inherit")) < 2, (
        "nothing is trained"
    )
    assert make_plan(recipe(SOFT)).cuts == []


def test_what_was_tried_is_remembered_until_the_recipe_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(recipe(BEGIN, CUT, SOFT))
    tried: list[str] = []
    monkeypatch.setattr(cuts, "_try", lambda graph, shape: tried.append("tried") or [])
    assert make_plan(recipe(BEGIN, CUT, SOFT)).cuts == plan.cuts and not tried
    assert make_plan(recipe(BEGIN, CUT.replace("0.6", "0.5"), SOFT)).cuts == [] and tried == ["tried"]


def test_features_are_joined_as_the_cut_leaves_them() -> None:
    hint = "{kind: distill, objectives: [{kind: feature-l2}], training: {epochs: 4}}"
    per_layer = "{kind: prune, ratio: 0.5, round_to: 2, scope: per-layer}"
    before, after = (make_plan(recipe(*steps)).taps for steps in ((hint,), (BEGIN, per_layer, hint)))
    assert [p["joined_by"] for p in before["steps[0].objectives[0]"]] == ["", "", ""]
    assert "of 4 to 8 channels" in after["steps[2].objectives[0]"][0]["joined_by"]


def test_what_cannot_be_reached_is_known_before_anything_is_trained() -> None:
    with pytest.raises(BudgetError, match=r"steps\[1\].budget.params: must be at least"):
        make_plan(recipe(BEGIN, CUT.replace("0.6", "0.001"), SOFT))
    with pytest.raises(BudgetError, match=r"steps\[3\].budget.params: must be less than what there is"):
        make_plan(recipe(BEGIN, CUT.replace("{params: 0.6}", "{macs: 0.2}"), SOFT, AGAIN.replace("0.3", "0.9")))
    with pytest.raises(
        PotstillError, match=r"steps\[1\].protect: must name modules of the model; got 'layr1'. Nearest: 'layer1'"
    ):
        make_plan(recipe(BEGIN, CUT.replace("round_to: 2", "protect: [layr1]"), SOFT))
    with pytest.raises(
        RecipeError, match=r"recipe.yaml:\d+:\d+ steps\[1\].budget: must name one of params, macs, bytes and device"
    ):
        recipe(BEGIN, CUT.replace("{params: 0.6}", "{params: 0.6, macs: 0.5}"), SOFT)
    host = CUT.replace("params: 0.6", "device: host, latency_ms: 1")
    with pytest.raises(
        RecipeError, match=r"steps\[1\].budget.device: must be a device whose figures are modelled; got 'host'"
    ):
        recipe(BEGIN, host, SOFT)
    with pytest.raises(RecipeError, match=r"steps\[3\].budget.params: must be less than 0.6"):
        recipe(BEGIN, CUT, SOFT, AGAIN.replace("0.3", "0.7"), SOFT)


def test_a_device_is_judged_as_the_recipe_exports_and_rounds() -> None:
    cut = CUT.replace("params: 0.6", "device: rpi4, flash_bytes: 9000")
    bits = "{kind: quantize, scheme: %s}"
    found = {}
    for scheme in ("int8_static_per_channel", "float16"):
        head = HEAD + "export: [{kind: litert}, {kind: onnx}]\n"
        graph = build(recipe(BEGIN, cut, SOFT, bits % scheme, head=head), StatCache())
        found[scheme] = graph.nodes["steps/student/seed0/2-prune"].spec
    for scheme, stage in found.items():
        assert isinstance(stage, PruneStage) and stage.budget is not None
        assert stage.budget.int8 == (scheme != "float16") and "XNNPACK" in (stage.runtimes or ())
    identity = next(iter(found.values())).budget.identity(StatCache().digest)  # type: ignore[attr-defined]
    assert identity["device"]["name"] == "rpi4" and len(identity["published"]) == 2, "another profile is another key"


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = extras.importlib.import_module

    def missing(name: str) -> object:
        if name == "torch_pruning":
            raise ImportError("No module named 'torch_pruning'")
        return imported(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'potstill\[prune\]'"):
        make_plan(recipe(BEGIN, CUT, SOFT))


@pytest.mark.parametrize(("kind", "shape"), [("float32", (3, 8, 8)), ("uint8", (40,))])
def test_the_example_is_of_the_datas_form(kind: str, shape: tuple[int, ...]) -> None:
    from potstill.core.samples import DataStats
    from potstill.models import ModelIO
    from potstill.pipeline.shape import DataShape

    io = ModelIO((10,), shape, "image" if kind == "float32" else "text", None, kind)  # type: ignore[arg-type]
    found = cuts.example_rows(DataShape(io, 1, 1, None, None, DataStats((), ())))
    assert tuple(found.shape) == (4, *shape) and str(found.dtype) == f"torch.{kind}"
    assert len(found.unique()) > 5
