"""A comparison from a recipe to its page: one teacher and one label store for all arms, resumable, honest about the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ARMS = ("control", "distill")


def short(write: Any) -> Path:
    path: Path = write(("data.limit", 300), ("teacher.training.epochs", 3), ("steps.0.training.epochs", 2))
    return path


def test_a_comparison_is_one_graph_and_a_second_call_does_nothing(
    write: Any, cli: Any, cache: Path, tmp_path: Path
) -> None:
    recipe = short(write)
    command = ("compare", recipe, "--arms", "distill", "--seeds", "2", "--threads", "2", "--out", "out")
    said = cli(*command).stdout
    results = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [a["name"] for a in results["arms"]] == [*ARMS] and results["seeds"] == [0, 1]
    assert "Most accurate within the budget" in said and (tmp_path / "out" / "compare.html").stat().st_size > 10_000
    manifests = [json.loads(p.read_text()) for p in (cache / "artifacts").glob("*/artifact.json")]
    made = sorted(m["stage"] for m in manifests)
    # Two arms and two seeds; teacher, labels and the timing of all are there once.
    assert made == sorted(
        ["prepare", "teach", "label", "evaluate", "measure", *4 * ["distill", "evaluate", "export", "judge"]]
    )
    for arm in results["arms"]:
        assert len(arm["per_seed"]) == 2 and arm["latency_ratio"]["low"] <= arm["latency_ratio"]["high"]
        assert 0 < arm["weight_bytes"] < 4 * arm["params"] == results["budget"]["weight_bytes"] and not arm["over"]
        assert arm["file_bytes"] > arm["weight_bytes"]
    assert results["arms"][0]["gain"] is None and results["arms"][1]["gain"]["verdict"] in ("gain", "loss", "no gain", "unresolved")  # fmt: skip
    before = (tmp_path / "out" / "compare.json").read_bytes()
    assert cli(*command).stdout.startswith("Nothing to do:")
    assert (tmp_path / "out" / "compare.json").read_bytes() == before


def test_under_a_latency_sizes_are_measured_once_before_anything_is_trained(
    write: Any, cli: Any, cache: Path, tmp_path: Path
) -> None:
    recipe = short(write)
    command = ("compare", recipe, "--arms", "distill", "--seeds", "1", "--threads", "1", "--out", "out", "--latency-ms")
    small = cli(*command, "0.000001", check=3)
    assert "--arms control: student: a model of kind 'ds-cnn' must fit the budget; the narrowest has" in small.stderr
    assert "It must take at most 1e-06 ms; the recipe's own student takes " in small.stderr
    stages = {json.loads(p.read_text())["stage"] for p in (cache / "artifacts").glob("*/artifact.json")}
    assert stages == {"prepare"}
    own = float(small.stderr.split("the recipe's own student takes ")[1].split(" ms")[0])
    limit = 2 * own
    cli(*command, str(limit))
    results = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert results["budget"] == {"weight_bytes": None, "macs": None, "latency_ms": limit}
    (size,) = results["sizes"].values()
    took = size["chosen"]["latency_ms"]
    assert took["low"] <= took["value"] <= took["high"] <= limit and size["reference_ms"] > 0
    assert size["chosen"]["numbers"]["width"] > 1 and size["tried"] > 2
    assert len({a["params"] for a in results["arms"]}) == 1, "control and student are of one size"
    for arm in results["arms"]:
        took = arm["latency_ms"]["interval"]
        assert took["low"] <= took["value"] <= took["high"] and bool(arm["over"]) == (took["low"] > limit)
    assert cli(*command, str(limit)).stdout.startswith("Nothing to do:"), "what was measured is kept: sizes stay"


def test_what_cannot_be_compared_is_said_before_anything_is_trained(write: Any, cli: Any, cache: Path) -> None:
    recipe = short(write)
    wrong = cli("compare", recipe, "--arms", "distil", check=2)
    assert "--arms: must join prune, distill, quantize by +; got 'distil'. Nearest: 'distill'." in wrong.stderr
    small = cli("compare", recipe, "--arms", "distill", "--weight-bytes", "40", check=2)
    assert "student: a model of kind 'ds-cnn' must fit the budget; the narrowest has" in small.stderr
    (cache.parent / "out").mkdir()
    (cache.parent / "out" / "mine.txt").write_text("keep")
    folder = cli("compare", recipe, "--arms", "distill", "--out", "out", check=2)
    assert "must be new, empty, or an earlier comparison; it holds 'mine.txt'" in folder.stderr
    stages = {json.loads(p.read_text())["stage"] for p in (cache / "artifacts").glob("*/artifact.json")}
    assert stages == {"prepare"}, "the data alone was looked at"
    assert (cache.parent / "out" / "mine.txt").read_text() == "keep"
