"""A recipe small enough to run many times, and the command line as a user runs it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"kind": "digits", "limit": 600, "test": 0.2, "labelled": 120},
    "augment": [{"kind": "shift", "pixels": 1}],
    "teacher": {
        "kind": "train",
        "model": {"kind": "resnet", "depth": 8, "width": 8},
        "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.01},
        "labels": "all",
    },
    "labels": {"views": 2, "codec": {"kind": "float16"}},
    "student": {"kind": "ds-cnn", "width": 6, "depth": 2, "downsample": 1},
    "steps": [
        {
            "kind": "distill",
            "objectives": [{"kind": "soft-label", "temperature": 2.0}, {"kind": "hard-label", "weight": 0.2}],
            "training": {"epochs": 12, "batch_size": 50, "learning_rate": 0.02},
        }
    ],
    "controls": ["hard-label"],
    "verify": {"blocks": 5},
}

Write = Callable[..., Path]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def changed(*edits: tuple[str, Any], base: dict[str, Any] = TINY) -> dict[str, Any]:
    """Return the tiny recipe with dotted paths set: ("steps.0.training.epochs", 3)."""
    recipe = copy.deepcopy(base)
    for path, value in edits:
        *parents, last = path.split(".")
        target: Any = recipe
        for part in parents:
            target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
        key: Any = int(last) if last.isdigit() else last
        if value is None:
            del target[key]
        else:
            target[key] = value
    return recipe


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty artifact cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("POTSTILL_CACHE", str(folder))
    yield folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(*edits) -> path of a recipe file."""

    def run(*edits: tuple[str, Any], name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(changed(*edits), sort_keys=False))
        return path

    return run


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child: two cores of work at most."""
    return {**os.environ, **extra}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """cli("run", recipe, ...) -> finished process."""

    def run(*args: object, check: int | None = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "potstill", *map(str, args)], cwd=tmp_path, env=environment(**extra),
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr or check is None, done.stderr
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run
