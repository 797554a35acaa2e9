"""Two processes that train together under torchrun; two runs that share a cache."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(tmp_path: Path, recipe: Path, out: str) -> subprocess.Popen[str]:
    env = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "POTSTILL_GROUP_TIMEOUT_S": "60"}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
         "--master-port", str(free_port()), "-m", "potstill", "run", str(recipe), "--out", out, "--threads", "2"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def kill(launcher: subprocess.Popen[str]) -> None:
    """Kill torchrun and its processes, which are in sessions of their own and would train on."""
    ranks = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    assert len(ranks) == 2, ranks
    for pid in (launcher.pid, *map(int, ranks)):
        os.kill(pid, signal.SIGKILL)
    launcher.communicate(timeout=30)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_processes_train_one_student_and_resume_to_the_same_bits(tmp_path: Path, write: Any, cache: Path) -> None:
    recipe = write(("controls", []), ("labels.views", 1), ("verify.teacher_latency", False))
    first = torchrun(tmp_path, recipe, "first")
    output, _ = first.communicate(timeout=240)
    assert first.returncode == 0, output
    results = json.loads((tmp_path / "first" / "results.json").read_text())
    assert results["fingerprint"]["world_size"] == 2
    assert results["arms"][0]["accuracy"]["value"] > 0.3, "two processes must learn too"

    os.environ["POTSTILL_CACHE"] = str(tmp_path / "other-cache")  # the cache fixture puts it back
    killed = torchrun(tmp_path, recipe, "second")
    time.sleep(6)
    kill(killed)
    resumed = torchrun(tmp_path, recipe, "second")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert sha256(tmp_path / "first" / "student.safetensors") == sha256(tmp_path / "second" / "student.safetensors")


def test_two_runs_on_one_cache_at_once(tmp_path: Path, write: Any, cache: Path) -> None:
    recipe = write(("controls", []))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "potstill", "run", str(recipe), "--out", f"run{i}", "--threads", "1"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    assert sha256(tmp_path / "run0" / "student.safetensors") == sha256(tmp_path / "run1" / "student.safetensors")
    made = list((cache / "artifacts").iterdir())
    assert len(made) == len(json.loads((tmp_path / "run0" / "run.json").read_text())["keys"])
    assert not any((cache / "work").iterdir())
