"""Run the nodes of a graph: hits are skipped, misses are made under a lock, arms run beside one another."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from potstill.core import artifact
from potstill.core.errors import ChangedError, DamagedError, PotstillError, StoreError
from potstill.core.progress import Progress
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph, Node, still_so
from potstill.stages import RunOptions, StageContext

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
GROUP = ":".join(os.environ.get(n, "") for n in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
                                                  "TORCHELASTIC_RESTART_COUNT"))  # fmt: skip
"""Names the torchrun group that this process is in."""


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
        makings = self._makings(node)
        if not self.cache.begin(node.key, makings):
            self.progress.say(f"  {node.name}: what it reads was made again since it was interrupted; it starts over")
        context = self._context(node)
        try:
            try:
                facts = self._run(node, context, makings)
            except PotstillError:
                self._verify_again(node)  # what it stopped at may be damage, which has a name and a remedy
                raise
            self._verify_again(node)
            self._check_unchanged(node, makings)
        except (DamagedError, ChangedError):
            self.cache.drop_work(node.key)  # some of it may come from what is damaged or changed
            raise
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

    def _run(self, node: Node, context: StageContext, makings: dict[str, int]) -> dict[str, Any]:
        self._verify_inputs(node)
        self._check_unchanged(node, makings)
        if WORLD_SIZE == 1 or not node.spec.all_ranks:
            return node.spec.run(context)
        self.cache.call_group(node.key, GROUP)
        try:
            return node.spec.run(context)
        finally:
            self.cache.call_group(node.key, None)

    def _follow(self, node: Node) -> Outcome:
        """In a torchrun group: work along where all must, once rank 0 has begun; else wait for it."""
        started = time.monotonic()
        worked = not node.spec.all_ranks
        while not self.cache.has(node.key):
            if not worked and self.cache.called(node.key, GROUP):
                node.spec.run(self._context(node))
                worked = True
            time.sleep(0.05)
        return Outcome(node.name, node.key, False, round(time.monotonic() - started, 3))

    def _context(self, node: Node) -> StageContext:
        inputs = {name: self.cache.path(self.graph.nodes[other].key) for name, other in node.inputs.items()}
        return StageContext(node.name, inputs, self.cache.work(node.key), self.options, self.progress)

    def _makings(self, node: Node) -> dict[str, int]:
        return {name: artifact.making(self.cache.path(self.graph.nodes[o].key)) for name, o in node.inputs.items()}

    def _check_unchanged(self, node: Node, makings: dict[str, int]) -> None:
        """What is read over a while must be the same to the end, or the key would promise what was not used."""
        if not still_so(self.graph, node, self.cache.digests):
            raise ChangedError(
                f"{node.name}: a file or source that it uses must not change while a run is under way; one did. Run again."
            )
        if self._makings(node) != makings:
            raise ChangedError(f"{node.name}: what it reads was repaired or made again meanwhile. Run again.")

    def _verify_again(self, node: Node) -> None:
        """Read what a long stage read once more: the disk may have lied meanwhile."""
        if node.spec.reads_long:
            self._verified -= set(node.parts["inputs"].values())
            self._verify_inputs(node)

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
