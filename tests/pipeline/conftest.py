"""The command line as a user runs it, on a small recipe."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import changed

from forks import Server

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
def cli(tmp_path: Path, forks: Server, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """cli("run", recipe, ...) -> finished process, forked from one that has everything imported."""
    said = tmp_path_factory.mktemp("said")

    def run(*args: object, check: int | None = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        argv, files = [*map(str, args)], [said / "out", said / "err"]
        code = forks.must(
            "forks:command", limit=300, argv=argv, folder=str(tmp_path), env=environment(**extra), out=str(files[0]), err=str(files[1])
        )  # fmt: skip
        done = subprocess.CompletedProcess(argv, code, *(file.read_text() for file in files))
        assert "Traceback" not in done.stderr or check is None, done.stderr
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run
