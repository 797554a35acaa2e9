"""What makes an artifact stale, and what does not. Keys only: nothing is computed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import potstill
from potstill.core import sources
from potstill.core.hashing import StatCache
from potstill.pipeline.graph import build
from potstill.recipe.load import load

PACKAGE = Path(potstill.__file__).parent


def keys(recipe: Path) -> dict[str, str]:
    sources.forget()
    return {name: node.key for name, node in build(load(recipe), StatCache()).nodes.items()}


def stages_that_differ(a: dict[str, str], b: dict[str, str]) -> set[str]:
    """Return the first part of the names whose key differs, with the arm for steps."""
    return {"/".join(n.split("/")[: 2 if n.startswith("steps") else 1]) for n in a if a[n] != b.get(n)}


DOWNSTREAM = {"steps/student", "evaluate", "export", "verify"}


FEATURES = {"kind": "feature-l2"}


def test_a_term_on_features_makes_a_change_of_the_teacher_a_miss(write: Any) -> None:
    """Also where no label is read of it; the control and, for a change of taps alone, the labels stay."""
    alone = ("steps.0.objectives", [FEATURES, {"kind": "hard-label"}])
    before, after = keys(write(alone)), keys(write(alone, ("teacher.training.epochs", 3)))
    assert "label" not in before and stages_that_differ(before, after) == DOWNSTREAM | {"teach"}
    both = ("steps.0.objectives", [FEATURES, {"kind": "soft-label"}])
    named = {**FEATURES, "taps": [{"student": 2, "teacher": "layer1"}]}
    before, after = keys(write(both)), keys(write(("steps.0.objectives", [named, {"kind": "soft-label"}])))
    assert stages_that_differ(before, after) == DOWNSTREAM


@pytest.mark.parametrize(
    ("edit", "stale"),
    [
        (("steps.0.objectives.0.temperature", 3.0), DOWNSTREAM),
        (("steps.0.training.epochs", 5), DOWNSTREAM | {"steps/hard-label"}),
        (("labels.codec", {"kind": "float32"}), DOWNSTREAM | {"label"}),
        (("labels.views", 3), DOWNSTREAM | {"label"}),
        (("augment.0.pixels", 2), DOWNSTREAM | {"teach", "label", "steps/hard-label"}),
        (("data.limit", 550), DOWNSTREAM | {"prepare", "teach", "label", "steps/hard-label"}),
        (("teacher.training.epochs", 3), DOWNSTREAM | {"teach", "label"}),
        (("seed", 1), None),
        (("description", "another"), set()),
        (("seeds", 2), set()),
        (("controls", ["hard-label", "label-smoothing"]), set()),
        (("verify.blocks", 6), {"verify"}),
    ],
)
def test_a_changed_recipe_changes_what_depends_on_it(write: Any, edit: tuple[str, Any], stale: set[str] | None) -> None:
    before = keys(write())
    after = keys(write(edit))
    if stale is None:
        assert len(stages_that_differ(before, after)) >= 5
    else:
        assert stages_that_differ(before, after) == stale


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("objectives/soft_label.py", {"steps/student"}),
        ("objectives/hard_label.py", {"teach", "steps/student", "steps/hard-label"}),
        ("models/ds_cnn.py", {"steps/student", "steps/hard-label"}),
        ("labels/codecs/float16.py", {"label"}),
        ("labels/codecs/topk.py", set()),
        ("objectives/logit_mse.py", set()),
        ("data/augment/shift.py", {"teach", "label", "steps/student", "steps/hard-label"}),
        ("data/digits.py", {"prepare"}),
        ("exporters/onnx.py", {"export", "verify"}),
        ("report/__init__.py", set()),
        ("cli/app.py", set()),
    ],
)
def test_one_character_of_a_source_is_a_miss(
    write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, stale: set[str]
) -> None:
    """Read the sources from a copy, change one character, compare each stage's own part of its key."""
    copy = tmp_path / "potstill"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    located = sources._locate

    def relocated(name: str) -> Path | None:
        path = located(name)
        return copy / path.relative_to(PACKAGE) if path is not None and PACKAGE in path.parents else path

    relocated.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(sources, "_locate", relocated)

    def own() -> dict[str, Any]:
        sources.forget()
        graph = build(load(write()), StatCache())
        return {name: node.parts["sources"] for name, node in graph.nodes.items()}

    before = own()
    text = (copy / module).read_text()
    (copy / module).write_text(text.rstrip("\n") + " \n")
    after = own()
    changed = {n for n in before if before[n] != after[n]}
    found = {"/".join(n.split("/")[: 2 if n.startswith("steps") else 1]) for n in changed}
    assert stale <= found
    if not stale:
        assert not found


def test_a_users_module_and_data_count_by_content(tmp_path: Path, write: Any) -> None:
    (tmp_path / "helper_of_mine.py").write_text("SIZE = 4\n")
    (tmp_path / "model_of_mine.py").write_text(
        "from torch import nn\nfrom helper_of_mine import SIZE\n\n\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, SIZE), nn.ReLU(), nn.Linear(SIZE, 10))\n"
    )
    data = tmp_path / "mine.npz"
    rng = np.random.default_rng(0)
    np.savez(data, x_train=rng.integers(0, 255, (200, 8, 8), dtype=np.uint8), y_train=np.arange(200) % 10)
    edits = (
        ("student", {"kind": "torch", "factory": "model_of_mine:make"}),
        ("data", {"kind": "npz", "path": "mine.npz"}),
    )
    before = keys(write(*edits))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("mine.npz", "recipe.yaml"):
        shutil.copy(tmp_path / name, moved / name)
    assert keys(moved / "recipe.yaml") == before, "a moved file is the same file"
    (tmp_path / "helper_of_mine.py").write_text("SIZE = 5\n")
    after = keys(write(*edits))
    assert stages_that_differ(before, after) >= {"steps/student", "steps/hard-label"}
    assert after["prepare"] == before["prepare"]
    with open(data, "r+b") as handle:
        handle.seek(300)
        byte = handle.read(1)
        handle.seek(300)
        handle.write(bytes([byte[0] ^ 1]))
    assert keys(write(*edits))["prepare"] != before["prepare"]
