"""Which places' features are stored is known before anything is computed; what makes a store stale; what a plan says."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.core.progress import Progress
from potstill.core.samples import DataStats
from potstill.labels.codecs.float16 import Float16Spec
from potstill.models import ModelIO
from potstill.pipeline import places, probe
from potstill.pipeline import run as running
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph, build
from potstill.pipeline.plan import make_plan
from potstill.pipeline.probe import feature_costs
from potstill.pipeline.shape import DataShape
from potstill.recipe.load import from_text
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions
from potstill.taps import TapPair

RECIPE: dict[str, Any] = {
    "name": "stored",
    "data": {"kind": "digits", "limit": 600},
    "augment": [{"kind": "shift", "pixels": 1}],
    "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 6}},
    "labels": {"views": 2},
    "features": {"mode": "stored"},
    "student": {"kind": "ds-cnn", "width": 4, "depth": 2, "downsample": 1},
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}, {"kind": "feature-l2"}, {"kind": "rkd"}]}],
}
HINT = {"kind": "feature-l2", "taps": [{"student": "4", "teacher": "layer2"}]}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def recipe_of(*objectives: dict[str, Any], **changes: Any) -> Recipe:
    sections = copy.deepcopy({**RECIPE, **changes})
    if objectives:
        sections["steps"] = [{"kind": "distill", "objectives": list(objectives)}]
    return from_text(yaml.safe_dump(sections), "recipe.yaml", Path.cwd())


def built(*objectives: dict[str, Any], root: Path | None = None, **changes: Any) -> Graph:
    cache = None if root is None else ArtifactCache(root)
    return build(recipe_of(*objectives, **changes), StatCache() if cache is None else cache.digests, cache)


def stores(*objectives: dict[str, Any], **changes: Any) -> dict[str, str]:
    return {n.name: n.key for n in built(*objectives, **changes).named("features/")}


def test_each_place_that_a_term_reads_has_a_stage_of_its_own() -> None:
    graph = built()
    assert [n.name for n in graph.named("features/")] == ["features/layer1", "features/layer2", "features/layer3"]
    assert [n.spec.shape for n in graph.named("features/")] == [(6, 8, 8), (12, 4, 4), (24, 2, 2)]  # type: ignore[attr-defined]
    (step,) = graph.named("steps/student/")
    assert set(step.inputs) == {"data", "labels", "features:layer1", "features:layer2", "features:layer3"}
    pairs = [o.needs().taps for o in step.spec.objectives]  # type: ignore[attr-defined]
    assert pairs[1] == (TapPair(student="2", teacher="layer1"), TapPair(student="4", teacher="layer2"))
    assert pairs[2] == (TapPair(student="4", teacher="layer3"),)
    (control,) = graph.named("steps/hard-label/")
    assert set(control.inputs) == {"data"}


def test_auto_is_the_same_training_as_its_pairs_by_name() -> None:
    named = {**HINT, "taps": [{"student": "2", "teacher": "layer1"}, {"student": "4", "teacher": "layer2"}]}
    auto, stated = (built({"kind": "feature-l2"}), built(named))
    assert {n: node.key for n, node in auto.nodes.items()} == {n: node.key for n, node in stated.nodes.items()}


def test_a_new_tap_relabels_nothing_else() -> None:
    one = stores(HINT)
    two = stores(HINT, {"kind": "rkd"})
    assert set(one) == {"features/layer2"} and set(two) == {"features/layer2", "features/layer3"}
    assert two["features/layer2"] == one["features/layer2"] and len(set(two.values())) == 2


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"features": {"mode": "stored", "codec": {"kind": "float32"}}}, False),
        ({"labels": {"views": 3}}, False),
        ({"augment": [{"kind": "shift", "pixels": 2}]}, False),
        ({"augment": []}, False),
        ({"seed": 1}, False),
        ({"data": {"kind": "digits", "limit": 550}}, False),
        ({"teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 8}}}, False),
        ({"student": {"kind": "ds-cnn", "width": 8, "depth": 2, "downsample": 1}}, True),
        ({"labels": {"views": 2, "codec": {"kind": "float32"}}}, True),
        ({"labels": {"views": 2, "mode": "live"}}, True),
        ({"seeds": 3}, True),
        ({"controls": []}, True),
    ],
    ids=["codec", "views", "augment", "none", "seed", "data", "teacher", "student", "labels", "live", "seeds", "controls"],
)  # fmt: skip
def test_what_makes_a_store_stale_and_what_does_not(changes: dict[str, Any], same: bool) -> None:
    before, after = stores(HINT), stores(HINT, **changes)
    assert set(before) == set(after) and (before == after) == same


def test_storing_features_leaves_labels_and_controls_as_they_are() -> None:
    live, kept = (
        {n: node.key for n, node in built(features={"mode": mode}).nodes.items()} for mode in ("live", "stored")
    )
    assert {n for n in live if live[n] != kept[n] and n.startswith(("label", "teach", "prepare", "steps"))} == {
        "steps/student/seed0/1-distill"
    }


def test_a_dry_run_is_made_once_for_a_model_and_its_record_is_not_trusted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    dry_run = places.dry_run
    monkeypatch.setattr(places, "dry_run", lambda *args: made.append("run") or dry_run(*args))
    keys = {n: node.key for n, node in built(root=root).nodes.items()}
    assert made == ["run"]
    assert {n: node.key for n, node in built(root=root).nodes.items()} == keys and made == ["run"]
    built(root=root, student={"kind": "ds-cnn", "width": 8, "depth": 2, "downsample": 1})
    assert len(made) == 2
    for file in (root / "places").glob("*.json"):
        file.write_text(file.read_text().replace("layer", "lager"))
    assert {n: node.key for n, node in built(root=root).nodes.items()} == keys and len(made) == 3
    monkeypatch.setattr(places, "ROOTS", (*places.ROOTS, "potstill.taps.pairing"))
    built(root=root)
    assert len(made) == 4, "other sources, and the old record served"


def test_torch_is_loaded_for_a_dry_run_and_never_for_what_is_known(root: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, json
        from pathlib import Path
        from potstill.pipeline.cache import ArtifactCache
        from potstill.pipeline.graph import build
        from potstill.recipe.model import Recipe
        cache = ArtifactCache(Path(sys.argv[1]))
        for text in sys.argv[2:]:
            build(Recipe.model_validate(json.loads(text)), cache.digests, cache)
            print("torch" in sys.modules)
        """
    )

    def loads(*modes: str) -> list[str]:
        texts = [json.dumps(recipe_of(features={"mode": mode}).model_dump(mode="json")) for mode in modes]
        done = subprocess.run(
            [sys.executable, "-c", code, str(root), *texts], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.split()

    assert loads("live", "stored") == ["False", "True"]
    assert loads("stored") == ["False"]


def test_faults_of_taps_are_told_at_once_before_any_compute(root: Path) -> None:
    wrong = [{**HINT, "taps": [{"student": a, "teacher": b}]} for a, b in (("9", "layer1"), ("4", "layer9"))]
    with pytest.raises(RecipeError) as caught:
        make_plan(recipe_of(*wrong))
    assert [f.split(": ")[0] for f in caught.value.faults] == [
        "steps[0].objectives[0].taps[0].student", "steps[0].objectives[1].taps[0].teacher"
    ]  # fmt: skip


def test_storing_what_nothing_reads_is_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"recipe\.yaml:\d+:\d+ features\.mode: must be live where no objective reads"
    ):
        recipe_of({"kind": "soft-label"})


def test_data_whose_shape_only_preparing_shows_is_prepared_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz", x_train=draw.integers(0, 255, (80, 8, 8), dtype=np.uint8), y_train=np.arange(80) % 4
    )
    recipe = recipe_of(HINT, data={"kind": "npz", "path": "mine.npz"})
    monkeypatch.setattr("potstill.data.npz.NpzSpec.open", _without_classes(type(recipe.data).open))
    graph = build(recipe, StatCache(), ArtifactCache(root))
    assert graph.waits and not graph.named("features/")
    lines = {line.stage: line for line in make_plan(recipe).lines}
    assert lines["features"].why == "its places are known once the data is prepared"
    seen: list[Graph] = []

    def stop(given: Graph, *_: Any) -> Any:
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_all", stop)
    with pytest.raises(KeyboardInterrupt):
        running.run(recipe, "", tmp_path / "out", RunOptions(root, 1), Progress("quiet"))
    assert not seen[0].waits and [n.name for n in seen[0].named("features/")] == ["features/layer2"]


def _without_classes(opened: Any) -> Any:
    from dataclasses import replace

    def open_it(self: Any) -> Any:
        return replace(opened(self), classes=None)

    return open_it


SHAPE = DataShape(ModelIO((10,), (1, 8, 8)), 500, 50, 50, None, DataStats((0.5,), (0.25,)))


class Ticks:
    """A clock in which every reading is `step` seconds after the last."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_bytes_are_rows_times_views_times_width_and_milliseconds_are_of_a_batch(tmp_path: Path) -> None:
    costs = feature_costs(recipe_of(), SHAPE, ["layer1", "layer2"], 50, 1, tmp_path, Ticks(1e-3))
    assert [(c.place, c.shape, c.stored_bytes, c.live_bytes) for c in costs] == [
        ("layer1", (6, 8, 8), 500 * 2 * 384 * 2, 0), ("layer2", (12, 4, 4), 500 * 2 * 192 * 2, 0),
        ("all", None, 500 * 2 * 576 * 2, 0),
    ]  # fmt: skip
    assert [c.live_ms for c in costs] == pytest.approx([1, 1, 1]) and costs[2].stored_ms == pytest.approx(2)
    assert [c.faster for c in costs] == ["live", "live", "live"], "a tie, and two reads against one pass"
    assert {c.source for c in costs} == {"measured"} and {c.batch for c in costs} == {50}
    assert not list(tmp_path.glob("probe-*"))


def test_what_would_take_too_long_is_scaled_and_not_called_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cost,) = feature_costs(recipe_of(), SHAPE, ["layer1"], 50, 1, tmp_path, Ticks(1.0))
    assert cost.source == "estimated" and cost.live_ms == pytest.approx(1e3 * 50 / 2)
    monkeypatch.setattr(probe, "environment", lambda: {"memory_bytes": 1 << 21})
    (cost,) = feature_costs(recipe_of(), SHAPE, ["layer1"], 50, 1, tmp_path, Ticks(1e-3))
    assert cost.source == "measured"
    monkeypatch.setattr(probe, "environment", lambda: {"memory_bytes": 1 << 20})
    (cost,) = feature_costs(recipe_of(), SHAPE, ["layer1"], 50, 1, tmp_path, Ticks(1e-3))
    assert cost.source == "estimated", "a store that memory does not hold is not read as the probe's file is"


def test_a_read_reads_the_rows_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    decode = Float16Spec.decode

    def seen(self: Any, fields: Any, *args: Any, **more: Any) -> Any:
        asked.append(fields["values"].shape)
        return decode(self, fields, *args, **more)

    monkeypatch.setattr(Float16Spec, "decode", seen)
    feature_costs(recipe_of(), SHAPE, ["layer1"], 50, 1, tmp_path, Ticks(1e-3))
    assert max(asked) == (50, 384) and min(asked) == (2, 384)


def test_the_plan_says_it_of_each_place_and_loads_no_torch_where_no_term_reads_taps(tmp_path: Path) -> None:
    for mode, words in (("live", "the teacher runs on each batch"), ("stored", "the teacher's side from its store")):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "features": {"mode": mode}}))
        done = CliRunner().invoke(app, ["plan", "recipe.yaml"], env={"COLUMNS": "250", "TERMINAL_WIDTH": "250"})
        assert done.exit_code == 0 and words in done.stdout
        for place in ("layer1 6×8×8", "layer2 12×4×4", "layer3 24×2×2", "all"):
            assert f"features {place}: stored" in done.stdout
    plan = make_plan(recipe_of())
    sizes = {line.stage: line.bytes for line in plan.lines if line.stage.startswith("features/")}
    assert sizes == {f"features/{c.place}": c.stored_bytes for c in plan.features if c.place != "all"}
    assert make_plan(recipe_of({"kind": "soft-label"}, features={"mode": "live"})).features == []
