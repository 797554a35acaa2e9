"""The command line as a user runs it, on a small recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import changed

Write = Callable[..., Path]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


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
