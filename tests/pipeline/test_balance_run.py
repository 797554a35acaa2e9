"""Whole runs on digits: shares of the gradient that are kept where weights alone drown a term; and killed, the same student."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from children import finish, interrupt_training, start
from safetensors.numpy import load_file

SHARES = {"soft-label": 0.7, "similarity-preserving": 0.3}
TOLERANCE = 0.1
"""Of the mean share over the training but for its first quarter; single readings are of one batch and vary more."""
EDITS: list[tuple[str, Any]] = [
    ("steps.0.objectives", [{"kind": "soft-label", "temperature": 2.0}, {"kind": "similarity-preserving"}]),
    ("steps.0.training.epochs", 20), ("export", []), ("controls", []), ("name", "balance"),
]  # fmt: skip
BALANCE = ("steps.0.balance", {"kind": "gradient", "shares": SHARES})


def mean_shares(run: Path) -> dict[str, float]:
    records = [json.loads(line) for line in (run / "logs" / "student-seed0-1-distill.jsonl").read_text().splitlines()]
    late = records[len(records) // 4 :]
    return {name: sum(r["terms"][name]["share"] for r in late) / len(late) for name in SHARES}


def test_shares_are_kept_where_the_papers_weight_drowns_soft_labels(
    tmp_path: Path, write: Any, cache: Path, cli: Any
) -> None:
    cli("run", write(*EDITS), "--out", "plain", "--threads", "1")
    assert mean_shares(tmp_path / "plain")["soft-label"] < 0.2, "the weight of the paper on digits"
    stopped = start(tmp_path, recipe := write(*EDITS, BALANCE), "parts")
    interrupt_training(stopped, after_s=0.5)
    (left,) = (cache / "work").rglob("checkpoint.safetensors")
    assert {f"balance/{name}" for name in SHARES} <= set(load_file(left))
    finish(start(tmp_path, recipe, "parts"))
    found = mean_shares(tmp_path / "parts")
    assert all(abs(found[name] - share) < TOLERANCE for name, share in SHARES.items()), found
    first = hashlib.sha256((tmp_path / "parts" / "student.safetensors").read_bytes()).hexdigest()
    key = json.loads((tmp_path / "parts" / "run.json").read_text())["keys"]["steps/student/seed0/1-distill"]
    shutil.rmtree(cache / "artifacts" / key)  # trained again, in one go
    cli("run", recipe, "--out", "whole", "--threads", "1")
    assert hashlib.sha256((tmp_path / "whole" / "student.safetensors").read_bytes()).hexdigest() == first
    page = (tmp_path / "whole" / "report.html").read_text()
    assert (
        "Factor on each weight" in page
        and "Factor on each weight" not in (tmp_path / "plain" / "report.html").read_text()
    )
