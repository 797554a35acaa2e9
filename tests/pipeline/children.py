"""Runs in a process of their own, to be interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ONE_CORE = ("--threads", "1")


def start(folder: Path, recipe: Path, out: Path | str, *extra: str) -> subprocess.Popen[str]:
    """Start `potstill run` in a folder; its events come on stderr."""
    return subprocess.Popen(
        [sys.executable, "-m", "potstill", "run", str(recipe), "--out", str(out), *ONE_CORE, "--json", *extra],
        cwd=folder, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that must end well."""
    said = process.communicate(timeout=250)[1]
    assert process.returncode == 0, said
