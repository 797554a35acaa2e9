"""A whole run with objectives on features: killed and gone on with, the same student; adapters nowhere in what it leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
from children import finish, interrupt_training, start
from safetensors.numpy import load_file

OBJECTIVES = [{"kind": "soft-label", "temperature": 2.0}, {"kind": "feature-l2"}, {"kind": "rkd", "weight": 0.1}]
EDITS: list[tuple[str, Any]] = [
    ("steps.0.objectives", OBJECTIVES), ("data.limit", 300), ("teacher.training.epochs", 3), ("steps.0.training.epochs", 40),
    ("verify.blocks", 5),
]  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_while_the_student_trains_it_resumes_to_the_same_bits(tmp_path: Path, write: Any, cache: Path) -> None:
    recipe = write(*EDITS)
    stopped = start(tmp_path, recipe, "parts")
    interrupt_training(stopped)
    checkpoints = list((cache / "work").rglob("checkpoint.safetensors"))
    assert any(k.startswith("adapters/feature-l2.0.") for path in checkpoints for k in load_file(path))
    finish(start(tmp_path, recipe, "parts"))
    _check_left(tmp_path / "parts")
    keys = json.loads((tmp_path / "parts" / "run.json").read_text())["keys"]
    shutil.rmtree(cache / "artifacts" / keys["steps/student/seed0/1-distill"])  # trained again, in one go
    finish(start(tmp_path, write(*EDITS, ("export", []), ("controls", []), name="alone.yaml"), "whole"))
    again = json.loads((tmp_path / "whole" / "run.json").read_text())["keys"]
    assert again["steps/student/seed0/1-distill"] == keys["steps/student/seed0/1-distill"]
    assert sha256(tmp_path / "parts" / "student.safetensors") == sha256(tmp_path / "whole" / "student.safetensors")


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
