"""A stage that stops on what was damaged under its hands says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import DamagedError, DataError
from potstill.core.progress import Progress
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.execute import Executor
from potstill.pipeline.graph import build
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions

RECIPE = {
    "name": "r", "data": {"kind": "digits", "limit": 200},
    "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 2}},
    "student": {"kind": "ds-cnn", "width": 4, "depth": 1, "downsample": 0},
    "steps": [{"kind": "distill", "objectives": [{"kind": "hard-label"}]}],
}  # fmt: skip
STUDENT = "steps/student/seed0/1-distill"


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "whole"])
def test_an_error_over_damaged_inputs_names_the_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    cache = ArtifactCache(tmp_path)
    graph = build(Recipe.model_validate(RECIPE), cache.digests)
    executor = Executor(graph, cache, RunOptions(tmp_path), Progress("quiet"))
    executor.run(graph.nodes["prepare"])
    data = cache.path(graph.nodes["prepare"].key) / "train.safetensors"

    def stops(self: Executor, *_: Any) -> None:
        if damaged:
            whole = data.read_bytes()
            data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        raise DataError("labels must be in 0..9; got 519.")

    monkeypatch.setattr(Executor, "_run", stops)
    error, told = (DamagedError, r"damage in train\.safetensors.*cache gc --damaged") if damaged else (DataError, "519")
    with pytest.raises(error, match=told):
        executor.run(graph.nodes[STUDENT])
