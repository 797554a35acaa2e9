"""Processes of a group that wait for one another, without a group: who begins when."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from _faults_work import SMALL

from potstill.core.progress import Progress
from potstill.pipeline import execute
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import build
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions
from potstill.stages.teach import TeachStage


def test_a_follower_begins_when_rank_0_does_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 may have to wait for another run for hours: a follower that begins alone times out in its first message."""
    began = threading.Event()
    monkeypatch.setattr(TeachStage, "run", lambda self, context: began.set())
    monkeypatch.setattr(execute, "RANK", 1)
    monkeypatch.setattr(execute, "GROUP", "this one")
    cache = ArtifactCache(tmp_path)
    graph = build(Recipe.model_validate(SMALL), cache.digests)
    node = graph.nodes["teach"]
    found: list[Any] = []
    executor = execute.Executor(graph, cache, RunOptions(tmp_path), Progress("quiet"))
    follower = threading.Thread(target=lambda: found.append(executor.run(node)), daemon=True)
    follower.start()
    cache.call_group(node.key, "another one")
    assert not began.wait(0.5)
    cache.call_group(node.key, "this one")
    assert began.wait(20)
    time.sleep(0.2)
    assert not found, "not before the artifact is there"
    cache.publish(node.key, {"name": "teach", "stage": "teach"})
    follower.join(20)
    assert found[0].key == node.key and not follower.is_alive()
