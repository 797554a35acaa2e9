"""Whole runs of a small Transformer that learns from a larger one's attention, hidden states and relations: other heads, depth
and width, nothing of an adapter in what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from safetensors.numpy import load_file
from tiny_recipe import changed

from potstill.core.progress import Progress
from potstill.pipeline.run import run
from potstill.recipe.load import from_text
from potstill.stages import RunOptions

VIT = {"kind": "vit", "patch": 2}
EDITS: list[tuple[str, Any]] = [
    ("data.limit", 300), ("augment", []), ("labels.views", 1), ("controls", []), ("verify.blocks", 5),
    ("teacher.model", {**VIT, "dim": 24, "depth": 4, "heads": 4}), ("teacher.training.epochs", 5),
    ("student", {**VIT, "dim": 16, "depth": 2, "heads": 2}), ("steps.0.training.epochs", 8),
]  # fmt: skip
QKV = ("query", "key", "value")
RUNS: dict[str, tuple[list[tuple[str, str]], list[str], int]] = {
    "attention-kl": (
        [(f"blocks.{a}.attention.softmax", f"blocks.{b}.attention.softmax") for a, b in ((0, 1), (1, 3))],
        ["the teacher's 4 heads as 2 means"] * 2, 0,
    ),
    "hidden-l2": ([("blocks.0", "blocks.1"), ("blocks.1", "blocks.3")], ["linear map of 16 to 24 channels"] * 2, 16 * 24),
    "relation-kl": ([(f"blocks.1.attention.{n}", f"blocks.3.attention.{n}") for n in QKV], [""] * 3, 0),
}  # fmt: skip
"""Kind -> pairs of places, what joins each, parameters of each adapter."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache the three runs share, so that the teacher is trained once."""
    return tmp_path_factory.mktemp("tokens")


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_learns_from_inside_a_transformer(kind: str, shared: Path) -> None:
    exports = [("export", [])] if kind != "hidden-l2" else []  # the one that trains adapters
    text = yaml.safe_dump(changed(*EDITS, *exports, ("steps.0.objectives", [{"kind": "soft-label"}, {"kind": kind}])))
    out = shared / kind
    run(from_text(text, "recipe.yaml", shared), text, out, RunOptions(shared / "cache"), Progress("quiet"))
    results = json.loads((out / "results.json").read_text())
    pairs, joins, parameters = RUNS[kind]
    found = results["arms"][0]["taps"][kind]
    assert [(p["student"], p["teacher"]) for p in found] == pairs
    assert [p["joined_by"] for p in found] == joins and {p["parameters"] for p in found} == {parameters}
    lines = next(out.glob("logs/student-seed0-*.jsonl")).read_text().splitlines()
    losses = [json.loads(line)["terms"][kind]["loss"] for line in lines]
    assert losses[-1] < 0.8 * losses[0], "the student comes nearer to what it is shown"
    weights = load_file(out / "student.safetensors")
    assert sum(v.size for v in weights.values()) == results["models"]["student"]["params"]
    assert {k.split(".")[0] for k in weights} == {"embed", "position", "blocks", "norm", "head"}
    if not exports:
        nodes = [node.op_type for node in onnx.load(str(out / "student.onnx")).graph.node]
        # Two products of attention and four linear maps a block, one at the end: none of an adapter.
        assert nodes.count("Softmax") == 2 and nodes.count("MatMul") + nodes.count("Gemm") == 2 * (2 + 4) + 1
