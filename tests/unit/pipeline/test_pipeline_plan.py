"""What a run would do, and why: reasons, states, and how arms are spread over cores."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from potstill.core import atomic
from potstill.core.errors import MissingExtraError, PotstillError
from potstill.core.hashing import StatCache
from potstill.core.progress import Progress
from potstill.pipeline import graph as graph_module
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.pipeline.graph import build, last_step
from potstill.pipeline.plan import make_plan, reason
from potstill.pipeline.run import run
from potstill.pipeline.schedule import threads_for
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions

SECTIONS: dict[str, Any] = {
    "name": "tiny", "data": {"kind": "digits", "limit": 600, "labelled": 120},
    "teacher": {"kind": "train", "model": {"kind": "ds-cnn"}}, "student": {"kind": "ds-cnn", "width": 4, "depth": 2},
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}], "training": {"epochs": 2}}], "seeds": 2,
}  # fmt: skip


def run_recipe(recipe: Recipe) -> None:
    root = default_root()
    run(recipe, "", root.parent / "run", RunOptions(root), Progress("quiet"))


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**copy.deepcopy(SECTIONS), **changes})


PARTS: dict[str, Any] = {
    "spec": {"kind": "distill", "objectives": [{"temperature": 2.0}, {"weight": 0.1}], "data": {"path": {"content": "aa"}}},
    "inputs": {"data": "k1", "teacher": "k2"}, "sources": {"potstill.x": "s1", "mine.y": "s2"}, "versions": {"torch": "2.1", "numpy": "2"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ((), None, "not in the cache any more"),
        (("inputs", "teacher"), "k3", "its teacher changed"),
        (("spec", "objectives", 0, "temperature"), 4.0, "objectives[0].temperature: 2.0 → 4.0"),
        (("spec", "objectives"), [{"temperature": 2.0}], "objectives: [{'temperature': 2.0}, {'weight': 0.1}] → [{'temperature': 2.0}]"),
        (("spec", "data", "path", "content"), "bb", "data.path: the file's content changed"),
        (("spec", "new"), 3, "new: None → 3"),
        (("sources", "mine.y"), "s3", "the source of mine.y changed"),
        (("sources", "mine.z"), "s4", "the source of mine.z changed"),
        (("versions", "torch"), "2.2", "torch 2.1 → 2.2"),
        (("versions", "scipy"), "1.1", "scipy None → 1.1"),
    ],
)  # fmt: skip
def test_the_first_thing_that_differs_is_named(path: tuple[Any, ...], value: Any, why: str) -> None:
    new = copy.deepcopy(PARTS)
    if path:
        inner: Any = new
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
    assert reason(PARTS, new) == why
    assert reason(None, new) == "not made yet"


def test_an_input_is_named_before_what_follows_from_it() -> None:
    new = copy.deepcopy(PARTS)
    new["inputs"]["data"], new["spec"]["kind"], new["sources"]["mine.y"] = "k9", "other", "s9"
    assert reason(PARTS, new) == "its data changed"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactCache:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return ArtifactCache(tmp_path / "cache")


def finish(cache: ArtifactCache, node: Any, **facts: Any) -> None:
    (cache.work(node.key) / "file").write_bytes(b"1234567")
    cache.publish(node.key, {"name": node.name, "facts": facts})


def test_states_of_a_plan(cache: ArtifactCache) -> None:
    graph = build(recipe(), StatCache())
    lines = {line.stage: line for line in make_plan(recipe()).lines}
    assert {line.state for line in lines.values()} == {"run"} and {line.why for line in lines.values()} == {
        "not made yet"
    }
    assert "steps/student/1-distill ×2" in lines and "evaluate/teacher" in lines
    nodes = graph.nodes
    facts = {
        "sample": "image",
        "shape": [8, 8, 1],
        "rate_hz": None,
        "target_shape": None,
        "rows": {"train": 540, "validation": 12, "test": 359},
        "classes": list("0123456789"),
    }
    finish(cache, nodes["prepare"], **facts)
    finish(cache, nodes["steps/student/seed0/1-distill"])
    (cache.work(nodes["teach"].key) / "checkpoint").write_text("")
    plan = make_plan(recipe())
    lines = {line.stage: line for line in plan.lines}
    assert lines["prepare"].state == "cached" and lines["prepare"].bytes == 7 and lines["prepare"].seconds == 0
    assert lines["teach"].state == "resume"
    assert lines["steps/student/1-distill ×2"].why == "1 of 2 cached; not made yet"
    todo = len(plan.lines) - 1
    assert plan.summary().startswith(f"{todo} of {len(plan.lines)} to do: about ")
    for node in nodes.values():
        if not cache.has(node.key):
            finish(cache, node)
    assert make_plan(recipe()).summary() == "Everything is cached: a run would only read it."


def test_a_plan_says_what_changed_since_the_last_run(cache: ArtifactCache, tmp_path: Path) -> None:
    before = build(recipe(), StatCache())
    atomic.write_json(
        tmp_path / "runs" / "tiny" / "run.json", {"parts": {n.name: n.parts for n in before.nodes.values()}}
    )
    steps = copy.deepcopy(SECTIONS["steps"])
    steps[0]["objectives"][0]["temperature"] = 4.0
    lines = {line.stage: line.why for line in make_plan(recipe(steps=steps)).lines}
    assert lines["steps/student/1-distill ×2"] == "objectives[0].temperature: 1.0 → 4.0"
    assert lines["evaluate/student ×2"] == "its student changed"
    assert lines["prepare"] == lines["steps/hard-label/1-distill ×2"] == "not in the cache any more"


def test_too_many_values_a_row_are_named_by_a_plan(cache: ArtifactCache) -> None:
    with pytest.raises(PotstillError, match=r"labels\.codec\.k: must be below the number of classes, 10; got k=16"):
        make_plan(recipe(labels={"codec": {"kind": "topk"}}))


def test_another_version_of_what_a_stage_imports_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> dict[str, str]:
        return {n.name: n.key for n in build(recipe(augment=[{"kind": "mixup"}]), StatCache()).nodes.values()}

    before = keys()
    version = graph_module.version_of
    for package, stale in {
        "sklearn": {"prepare"},
        "scipy": {"teach", "label"},
        "torch": set(before),
        "pydantic": set(),
    }.items():
        monkeypatch.setattr(graph_module, "version_of", lambda name, p=package: "new" if name == p else version(name))
        after = keys()
        own = {n for n in before if before[n] != after[n]}
        assert stale <= own and bool(stale) == bool(own), package
    monkeypatch.setattr(graph_module, "version_of", version)
    assert keys() == before


def test_nodes_come_after_their_inputs_and_arms_are_marked() -> None:
    graph = build(recipe(controls=["hard-label", "hard-pseudo-label"]), StatCache())
    seen: set[str] = set()
    for node in graph.nodes.values():
        assert set(node.inputs.values()) <= seen, node.name
        seen.add(node.name)
        assert node.arm == (node.name.startswith(("steps/", "evaluate/")) and node.name != "evaluate/teacher")
    assert last_step(graph, "hard-label", 1) == "steps/hard-label/seed1/1-distill"
    assert "labels" not in graph.nodes["steps/hard-label/seed0/1-distill"].inputs
    assert graph.nodes["steps/hard-pseudo-label/seed0/1-distill"].inputs["labels"] == "label"


@pytest.mark.parametrize(
    ("objective", "controls", "mode", "stored"),
    [("soft-label", [], "stored", True), ("soft-label", [], "live", False), ("hard-label", [], "stored", False),
     ("hard-label", ["hard-pseudo-label"], "stored", True)],
)  # fmt: skip
def test_labels_are_stored_only_where_they_are_read(
    objective: str, controls: list[str], mode: str, stored: bool
) -> None:
    steps = [{"kind": "distill", "objectives": [{"kind": objective}]}]
    graph = build(recipe(steps=steps, controls=controls, labels={"mode": mode}), StatCache())
    assert ("label" in graph.nodes) == stored


@pytest.mark.parametrize(
    ("seeds", "controls", "cores", "expected"),
    [(1, [], 8, (1, 8)), (2, [], 8, (2, 4)), (2, ["hard-label"], 8, (4, 2)), (3, ["hard-label"], 4, (4, 1)), (5, [], 1, (1, 1)),
     (3, [], 7, (3, 2))],
)  # fmt: skip
def test_cores_are_spread_over_the_arms_of_the_recipe(
    seeds: int, controls: list[str], cores: int, expected: tuple[int, int]
) -> None:
    assert threads_for(build(recipe(seeds=seeds, controls=controls), StatCache()), cores) == expected


@pytest.mark.parametrize("read", [make_plan, run_recipe])
def test_a_format_whose_packages_are_missing_is_told_before_anything_is_trained(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "litert_torch" else find(name))
    with pytest.raises(
        MissingExtraError, match=r"export.litert: needs the package 'litert_torch', .*potstill\[runtimes\]"
    ):
        read(recipe(export=[{"kind": "litert"}]))
    assert not list((tmp_path / "cache").glob("artifacts/*"))


@pytest.mark.parametrize("read", [make_plan, run_recipe])
def test_a_missing_compiler_is_told_before_anything_is_trained(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        MissingExtraError, match=r"export.aoti: needs a C\+\+ compiler .*got no program 'no-such-compiler'"
    ):
        read(recipe(export=[{"kind": "aoti"}]))
    assert not list((tmp_path / "cache").glob("artifacts/*"))
