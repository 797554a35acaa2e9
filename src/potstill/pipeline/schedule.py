"""All nodes of a graph in a good order: what leads to the arms, the arms beside one another, what follows alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from potstill.core.progress import Progress
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.execute import WORLD_SIZE, Executor, Outcome
from potstill.pipeline.graph import Graph, Node
from potstill.pipeline.workers import run_parallel
from potstill.stages import RunOptions


def threads_for(graph: Graph, cores: int) -> tuple[int, int]:
    """Return (processes for the arms, threads of each).

    A pure function of the recipe and the machine, so that a resumed run has the numerics it began with.
    """
    arms = len([n for n in graph.nodes.values() if n.arm and n.name.startswith("steps/")])
    if WORLD_SIZE > 1 or arms < 2:
        return 1, max(1, cores // WORLD_SIZE)
    processes = min(cores, arms)
    return processes, max(1, cores // processes)


def run_all(
    graph: Graph,
    cache: ArtifactCache,
    options: RunOptions,
    progress: Progress,
    cores: int,
    made: dict[str, Any] | None = None,
) -> list[Outcome]:
    """Run every node: what leads to the arms, then the arms in parallel, then what follows, alone on the machine.

    `made` says, in JSON values, how a child makes this graph of its recipe where it is not simply built.
    """
    processes, arm_threads = threads_for(graph, cores)
    alone = Executor(graph, cache, replace(options, threads=max(1, cores // WORLD_SIZE)), progress)
    arm_options = replace(options, threads=arm_threads)
    nodes = list(graph.nodes.values())
    arms = [n for n in nodes if n.arm]
    before = [n for n in nodes if not n.arm and not _after_arms(graph, n)]
    after = [n for n in nodes if not n.arm and _after_arms(graph, n)]
    outcomes = [alone.run(n) for n in before]
    missing = [n for n in arms if not cache.has(n.key)]
    if processes > 1 and len(missing) > 1 and not _in_process_only(graph):
        outcomes += run_parallel(graph, arms, cache, arm_options, progress, processes, made)
    else:
        here = Executor(graph, cache, arm_options, progress)
        outcomes += [here.run(n) for n in arms]
    outcomes += [alone.run(n) for n in after]
    return outcomes


def _after_arms(graph: Graph, node: Node) -> bool:
    return any(graph.nodes[i].arm or _after_arms(graph, graph.nodes[i]) for i in node.inputs.values())


def _in_process_only(graph: Graph) -> bool:
    """Objects of the user's process cannot be sent to another."""
    return any(getattr(s, "in_process", False) for s in graph.recipe.walk())
