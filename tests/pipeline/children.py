"""Runs in a process of their own, to be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ONE_CORE = ("--threads", "1")


def start(folder: Path, recipe: Path, out: Path | str, *extra: str) -> subprocess.Popen[str]:
    """Start `potstill run` in a folder; its events come on stderr."""
    return subprocess.Popen(
        [sys.executable, "-m", "potstill", "run", str(recipe), "--out", str(out), *ONE_CORE, "--json", *extra],
        cwd=folder, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def interrupt_training(process: subprocess.Popen[str], after_s: float = 0.3) -> None:
    """Send Ctrl-C once the student has trained for a while: the step in hand is saved."""
    assert process.stderr is not None
    for line in process.stderr:
        if '"start"' in line and "steps/student" in line:
            break
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    process.stderr.read()
    assert process.wait(timeout=60) == 130


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that must end well."""
    said = process.communicate(timeout=250)[1]
    assert process.returncode == 0, said
