"""A whole run with objectives on features: killed and gone on with, the same student; adapters nowhere in what it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
from safetensors.numpy import load_file

OBJECTIVES = [{"kind": "soft-label", "temperature": 2.0}, {"kind": "feature-l2"}, {"kind": "rkd", "weight": 0.1}]
EDITS: list[tuple[str, Any]] = [
    ("steps.0.objectives", OBJECTIVES), ("data.limit", 300), ("teacher.training.epochs", 3), ("steps.0.training.epochs", 40),
    ("verify.blocks", 5),
]  # fmt: skip


def start(folder: Path, recipe: Path, cache: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "potstill", "run", str(recipe), "--out", str(folder), "--threads", "1", "--json"],
        cwd=folder.parent, env={**os.environ, "POTSTILL_CACHE": str(folder.parent / cache)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_while_the_student_trains_it_resumes_to_the_same_bits(tmp_path: Path, write: Any) -> None:
    recipe = write(*EDITS, ("export", []), ("controls", []), name="parts.yaml")
    whole, parts = start(tmp_path / "whole", write(*EDITS), "a"), start(tmp_path / "parts", recipe, "b")
    assert parts.stderr is not None
    for line in parts.stderr:
        if '"start"' in line and "steps/student" in line:
            break
    time.sleep(0.3)
    parts.send_signal(signal.SIGINT)  # saves the step in hand
    parts.stderr.read()
    assert parts.wait(timeout=60) == 130
    checkpoints = list((tmp_path / "b" / "work").rglob("checkpoint.safetensors"))
    assert any(k.startswith("adapters/feature-l2.0.") for path in checkpoints for k in load_file(path))
    parts = start(tmp_path / "parts", recipe, "b")
    said = parts.communicate(timeout=200)[1], whole.communicate(timeout=200)[1]
    assert (parts.returncode, whole.returncode) == (0, 0), said
    assert sha256(tmp_path / "parts" / "student.safetensors") == sha256(tmp_path / "whole" / "student.safetensors")
    _check_left(tmp_path / "whole")


def _check_left(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    student, control = results["arms"]
    assert [(p["student"], p["teacher"]) for p in student["taps"]["feature-l2"]] == [("2", "layer1"), ("4", "layer2")]
    assert [(p["student"], p["teacher"]) for p in student["taps"]["rkd"]] == [("4", "layer3")]
    assert control["taps"] == {} and all(p["parameters"] for p in student["taps"]["feature-l2"])
    weights = load_file(run / "student.safetensors")
    num = sum(v.size for k, v in weights.items() if "running_" not in k and not k.endswith("num_batches_tracked"))
    assert num == results["models"]["student"]["params"] == 658, "an adapter is in the student"
    assert all(k.split(".")[0].isdigit() for k in weights)
    exported = onnx.load(str(run / "student.onnx"))
    assert sum(1 for node in exported.graph.node if node.op_type == "Conv") == 5, "an adapter is in the exported model"
    assert "2 ↔ layer1" in (run / "report.html").read_text()
