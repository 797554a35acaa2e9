"""What makes labels and students stale, and what does not; beside tests/pipeline/test_misses.py. Keys only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from _faults_runs import teacher_files
from _faults_work import SMALL, Recipe, edited

from potstill.core import sources
from potstill.core.hashing import StatCache
from potstill.pipeline.graph import build
from potstill.recipe.load import from_text

Keys = dict[str, str]
TOPK = {"kind": "topk", "k": 4, "temperatures": [1.0, 2.0]}
SHIFT, FLIP = {"kind": "shift", "pixels": 1}, {"kind": "flip", "p": 0.5}


@pytest.fixture
def base(tmp_path: Path) -> Recipe:
    """A recipe over files: pictures and labels in an archive, a teacher in the user's own module, its weights in a file."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (300, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_train=pixels, y_train=np.arange(300) % 10)
    teacher = teacher_files(tmp_path)["torch"]
    classes = [f"class {k}" for k in range(10)]
    return edited(
        SMALL, data={"kind": "npz", "path": "data.npz", "classes": classes}, teacher=teacher, augment=[SHIFT, FLIP],
        labels={"views": 2, "codec": TOPK},
    )  # fmt: skip


def keys(recipe: Recipe | str, folder: Path) -> Keys:
    sources.forget()
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False)
    return {name: node.key for name, node in build(from_text(text, "recipe.yaml", folder), StatCache()).nodes.items()}


def stale(a: Keys, b: Keys) -> set[str]:
    return {name.split("/")[0] for name in a if a[name] != b.get(name)}


def str_in_order(value: Any) -> str:
    """Sets in one order, so that two processes name their tests alike."""
    return " ".join(sorted(value)) if isinstance(value, set) else str(value)


LABELS = {"label", "steps", "evaluate", "export", "verify"}
TEACHER = LABELS | {"teach"}
DATA = TEACHER | {"prepare"}


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"teacher__class_order": [1, 0, *range(2, 10)]}, TEACHER),
        ({"teacher__input": {"mean": [0.0], "std": [0.5]}}, TEACHER),
        ({"teacher__output": "probabilities"}, TEACHER),
        ({"data__classes__0": "another name"}, DATA),
        ({"data__validation": 0.2}, DATA),
        ({"data__split_seed": 1}, DATA),
        ({"augment": [FLIP, SHIFT]}, TEACHER),
        ({"augment": [SHIFT]}, TEACHER),
        ({"augment__1__p": 0.25}, TEACHER),
        ({"labels__codec__k": 5}, LABELS),
        ({"labels__codec__temperatures": [2.0, 1.0]}, LABELS),
        ({"labels__views": 1}, LABELS),
        ({"steps__0__objectives__0__standardize": True}, {"steps", "evaluate", "export", "verify"}),
        ({"steps__0__objectives__1__weight": 0.3}, {"steps", "evaluate", "export", "verify"}),
        ({"seeds": 3}, set()),
        ({"description": "what it is for"}, set()),
        ({"name": "another"}, set()),
    ],
    ids=str_in_order,
)
def test_a_changed_line(tmp_path: Path, base: Recipe, edits: dict[str, Any], expected: set[str]) -> None:
    assert stale(keys(base, tmp_path), keys(edited(base, **edits), tmp_path)) == expected


def one_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def a_label(folder: Path) -> None:
    with np.load(folder / "data.npz") as archive:
        pixels, labels = archive["x_train"], archive["y_train"].copy()
    labels[7] = 3
    np.savez(folder / "data.npz", x_train=pixels, y_train=labels)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: one_bit(f / "teacher.safetensors", -500), TEACHER),
        (lambda f: one_bit(f / "data.npz", 5000), DATA),
        (a_label, DATA),
        (lambda f: os.utime(f / "data.npz", ns=(10**18, 10**18)), set()),
        (lambda f: os.chmod(f / "teacher.safetensors", 0o600), set()),
        (lambda f: shutil.copy(f / "data.npz", f / "again") and os.replace(f / "again", f / "data.npz"), set()),
    ],
    ids=["a bit of the teacher", "a pixel", "a label", "touched", "other rights", "replaced by a copy"],
)
def test_a_changed_file(tmp_path: Path, base: Recipe, change: Callable[[Path], Any], expected: set[str]) -> None:
    before = keys(base, tmp_path)
    change(tmp_path)
    assert stale(before, keys(base, tmp_path)) == expected


def test_an_onnx_teacher_counts_by_content_wherever_it_lies(tmp_path: Path, base: Recipe) -> None:
    recipe = edited(base, teacher=teacher_files(tmp_path)["onnx"])
    before = keys(recipe, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tmp_path / "teacher.onnx", tmp_path / "elsewhere" / "renamed.onnx")
    assert keys(edited(recipe, teacher__path=str(moved)), tmp_path) == before
    one_bit(Path(moved), -900)
    assert stale(before, keys(edited(recipe, teacher__path=str(moved)), tmp_path)) == TEACHER


def test_what_a_person_writes_for_people_is_no_miss(tmp_path: Path, base: Recipe) -> None:
    before = keys(base, tmp_path)
    text = yaml.safe_dump(base, sort_keys=True, default_flow_style=True, width=60)
    assert keys(f"# {base['name']}, again\n{text}\n# the end\n", tmp_path) == before, "order, comments, layout"
    same = edited(base, steps__0__objectives__0__temperature=2, labels__mode="stored", seed=0, verify__threads=1)
    assert keys(same, tmp_path) == before, "defaults said aloud, 2 for 2.0"


def test_a_users_own_teacher_is_read_with_what_it_imports(
    tmp_path: Path, base: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stale_sizes.py").write_text("HIDDEN = 256\n")
    (tmp_path / "stale_teacher.py").write_text(
        "from torch import nn\nfrom stale_sizes import HIDDEN\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), "
        "nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10, bias=False))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = edited(base, teacher__factory="stale_teacher:make")
    before = keys(recipe, tmp_path)
    (tmp_path / "stale_sizes.py").write_text("HIDDEN = 128\n")
    assert stale(before, keys(recipe, tmp_path)) == TEACHER
    (tmp_path / "stale_sizes.py").write_text("HIDDEN = 256\n")
    (tmp_path / "stale_unrelated.py").write_text("nobody imports this\n")
    assert keys(recipe, tmp_path) == before


def test_a_change_that_keeps_size_and_time_is_seen_by_the_memory_of_digests(tmp_path: Path) -> None:
    file, digests = tmp_path / "weights", StatCache()
    file.write_bytes(b"a" * 100)
    os.utime(file, ns=(10**18, 10**18))
    first = digests.digest(file)
    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(10**18, 10**18))
    assert digests.digest(file) != first
