"""Run the nodes of a graph: hits are skipped, misses are made under a lock, arms run beside one another."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from potstill.core import artifact
from potstill.core.errors import StoreError
from potstill.core.progress import Progress
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph, Node
from potstill.stages import RunOptions, StageContext

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))


@dataclass
class Outcome:
    """What became of a node."""

    name: str
    key: str
    cached: bool
    seconds: float


class Executor:
    """Makes artifacts.

    Args:
        graph: with keys.
        cache: where artifacts live.
        options: how to run.
        progress: where to report.
    """

    def __init__(self, graph: Graph, cache: ArtifactCache, options: RunOptions, progress: Progress) -> None:
        self.graph, self.cache, self.options, self.progress = graph, cache, options, progress
        self._verified: set[str] = set()

    def run(self, node: Node) -> Outcome:
        """Return once the node's artifact is finished, made here or found."""
        if self.cache.has(node.key):
            self.cache.touch(node.key)
            return Outcome(node.name, node.key, True, 0.0)
        if RANK != 0:
            return self._follow(node)
        with self.cache.lock(node.key, lambda: self.progress.say(f"  {node.name}: another run is making it; waiting")):
            if self.cache.has(node.key):  # another process made it meanwhile
                return Outcome(node.name, node.key, True, 0.0)
            return self._make(node)

    def _make(self, node: Node) -> Outcome:
        started = time.monotonic()
        self._verify_inputs(node)
        context = self._context(node)
        facts = node.spec.run(context)
        seconds = round(time.monotonic() - started, 3)
        manifest: dict[str, Any] = {
            "name": node.name,
            "key": node.key,
            "stage": node.spec.kind,
            "spec": node.spec.model_dump(mode="json"),
            "inputs": node.parts["inputs"],
            "parts": node.parts,
            "facts": facts,
            "seconds": seconds,
            "fingerprint": context.options.fingerprint(WORLD_SIZE),
        }
        self.cache.publish(node.key, manifest)
        self.progress.event("made", node=node.name, key=node.key, seconds=seconds)
        return Outcome(node.name, node.key, False, seconds)

    def _follow(self, node: Node) -> Outcome:
        """In a torchrun group: work along where all must, else wait for rank 0."""
        started = time.monotonic()
        if node.spec.all_ranks:
            node.spec.run(self._context(node))
        while not self.cache.has(node.key):
            time.sleep(0.05)
        return Outcome(node.name, node.key, False, round(time.monotonic() - started, 3))

    def _context(self, node: Node) -> StageContext:
        inputs = {name: self.cache.path(self.graph.nodes[other].key) for name, other in node.inputs.items()}
        return StageContext(node.name, inputs, self.cache.work(node.key), self.options, self.progress)

    def _verify_inputs(self, node: Node) -> None:
        """Read every byte of what this stage builds on, once a process."""
        for other in node.inputs.values():
            key = self.graph.nodes[other].key
            if key not in self._verified:
                found = artifact.manifest(self.cache.path(key))
                if found["key"] != key:
                    raise StoreError(f"{self.cache.path(key)}: must be the artifact of its key; got {found['key']}.")
                artifact.verify(self.cache.path(key))
                self._verified.add(key)
