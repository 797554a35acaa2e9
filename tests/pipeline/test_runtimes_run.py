"""A whole run that exports to LiteRT alone: the file is compared, run over the test split and measured in its own runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import changed

pytestmark = pytest.mark.slow

EDITS = (
    ("export", [{"kind": "litert"}]), ("data.limit", 200), ("teacher.training.epochs", 6), ("steps.0.training.epochs", 2),
    ("controls", []), ("labels.views", 1), ("augment", []),
    ("devices", [{"device": "rpi4", "latency_ms": 50, "flash_bytes": 1e6}, {"device": "host", "latency_ms": 1e4}]),
)  # fmt: skip


def test_a_file_of_another_runtime_is_measured_as_onnx_is(tmp_path: Path, cache: Path, cli: Any) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(changed(*EDITS), sort_keys=False))
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    (found,) = json.loads((run / "results.json").read_text())["artifacts"]
    assert found["format"] == "litert" and found["file"] == "student.tflite"
    assert found["bytes"] == (run / "student.tflite").stat().st_size
    assert found["parity"]["batches"][:3] == [1, 2, 7] and found["parity"]["max_abs_diff"] < 1e-4
    assert abs(found["accuracy_drop"]) < 0.03 and found["accuracy"]["source"] == "measured"
    assert 0 < found["latency_ms"]["median"] < 1000 and found["teacher_latency_ms"]["runtime"] == "litert"
    assert found["peak_memory_bytes"]["source"] == "measured" and found["peak_memory_bytes"]["value"] > 0
    board, host = json.loads((run / "results.json").read_text())["verdicts"]
    assert (board["verdict"], host["verdict"]) == ("unknown", "fits") and board["runtime"]["runtime"] in (
        "XNNPACK",
        "TFLite CPU",
    )
    words = {line["name"]: line["word"] for line in board["lines"]}
    assert words["flash_bytes"] == "measured" and words["latency_ms"] == "unknown" and board["cost"]["macs"] > 0
    card = json.loads((run / "student.tflite.json").read_text())
    assert card["files"]["student.tflite"]["sha256"] == found["sha256"] and card["task"] == "image-classification"
    said = json.loads(cli("verify", run / "student.tflite", "--data", recipe, "--json").stdout)
    assert said["accuracy"]["value"] == found["accuracy"]["value"] and said["preprocessing"] == "inside"
