"""Several classes a row, from a table to the report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = {"lamp": "light", "dim": "light", "song": "music", "louder": "music", "rain": "weather", "snow": "weather"}
FILLERS = ["please", "could", "you", "now", "the", "a", "for", "me", "today", "again"]


def table(folder: Path, num: int = 400) -> Path:
    """Write requests in which each word of WORDS stands for its class; some have none, and some no label at all."""
    rng, rows = np.random.default_rng(2), []
    for i in range(num):
        words = [w for w in WORDS if rng.random() < 0.25]
        text = rng.permutation([*words, *rng.choice(FILLERS, 4)])
        label = None if i % 9 == 8 else sorted({WORDS[w] for w in words})
        rows.append({"text": " ".join([*text, f"n{i}"]), "label": label})
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "requests.jsonl"


def recipe(data: Path, **changes: Any) -> dict[str, Any]:
    small = {"vocabulary_size": 300, "max_tokens": 16}
    return {
        "name": "several",
        "task": {"kind": "multi-label-classification"},
        "data": {"kind": "text", "train": str(data), "several": True, "labelled": 100},
        "teacher": {
            "kind": "train", "labels": "all", "model": {"kind": "text-cnn", "dim": 32, "width": 48, "input": small},
            "training": {"epochs": 20, "batch_size": 16, "learning_rate": 0.01, "sampling": "uniform"},
        },
        "student": {"kind": "text-cnn", "dim": 16, "width": 16, "input": small},
        "steps": [{"kind": "distill", "objectives": [{"kind": "multi-label-soft"}],
                   "training": {"epochs": 15, "batch_size": 16, "learning_rate": 0.01}}],
        "verify": {"blocks": 5, "teacher_latency": False},
        **changes,
    }  # fmt: skip


def test_several_classes_a_row(cli: Cli, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(table(tmp_path))))
    cli("run", "recipe.yaml", "--out", "out", "--threads", 1)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "multi-label-classification" and results["classes"] == ["light", "music", "weather"]
    assert results["data"]["target_shape"] == [3]
    assert results["teacher"]["accuracy"]["value"] > 0.9
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert arms["student"]["accuracy"]["value"] > 0.7 and "hard-label" in arms
    assert {"mean_average_precision", "exact_match", "macro_f1"} <= set(arms["student"])
    assert results["artifacts"][0]["parity"]["max_abs_diff"] < 1e-4
    page = (tmp_path / "out" / "report.html").read_text()
    assert "weather" in page and "Confusion" not in page
    assert results["metric"] == "F1 of a row" and "test F1 of a row" in page and "test accuracy" not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"kind": "text-classification"}}, "needs one label a row, and the data has several classes a row"),
        ({"steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}]}, "asks for flags. Use one of: multi-label, multi-label-soft"),
        ({"steps": [{"kind": "distill", "objectives": "auto"}]}, "auto chooses among losses on classes"),
        ({"controls": ["label-smoothing"]}, "'label-smoothing' is of classes"),
    ],
    ids=["task", "loss", "auto", "control"],
)  # fmt: skip
def test_what_is_of_one_class_is_refused(
    cli: Cli, cache: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("task"):
        changes = {**changes, "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(table(tmp_path), **changes)))
    failed = cli("plan", "recipe.yaml", check=2)
    assert message in failed.stderr, failed.stderr
