"""A comparison: one graph of all arms over one teacher and one label store, and what it found."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from potstill.core import artifact, atomic
from potstill.core.errors import BudgetError, PotstillError
from potstill.core.fingerprint import machine
from potstill.core.hashing import StatCache, digest_json
from potstill.core.progress import Progress
from potstill.pipeline.arms import Arm, CompareSpec, arms_of, budgeted
from potstill.pipeline.bits import check_bits
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.cuts import check_cuts
from potstill.pipeline.execute import Executor
from potstill.pipeline.formats import check_formats
from potstill.pipeline.graph import STUDENT, Graph, Node, build, compute_keys
from potstill.pipeline.schedule import run_all
from potstill.pipeline.shape import shape_of
from potstill.pipeline.taps import check_objectives
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions
from potstill.stages.export import ExportStage
from potstill.stages.judge import JudgeStage
from potstill.stages.measure import EXPORTED, MeasureStage
from potstill.stages.measure import STUDENT as MEASURED
from potstill.stages.size import SizeStage

FILE = "compare.json"


@dataclass
class Comparison:
    """All arms of a comparison in one graph."""

    graph: Graph
    arms: list[Arm]
    graphs: list[Graph]
    """Of each arm alone."""
    spec: CompareSpec
    """Its budget said."""

    def last(self, arm: str, seed: int) -> str:
        """Return the name of the node that leaves an arm's finished model."""
        return self.graph.named(f"steps/{arm}/seed{seed}/")[-1].name


@dataclass(frozen=True)
class Compared:
    """A finished comparison; `results` is compare.json in `folder`."""

    folder: Path
    results: dict[str, Any]
    changed: bool
    seconds: float


def compare(
    recipe: Recipe, spec: CompareSpec, recipe_text: str, out: Path, options: RunOptions, progress: Progress, cores: int
) -> Compared:
    """Train every arm for every seed of the recipe, run each artifact, time all together, and leave the results in `out`.

    Args:
        recipe: validated; its first exporter is the format of every arm.
        spec: arms and budget.
        recipe_text: as it was written.
        out: a folder of its own; created.
        options: where and how.
        progress: where to report.
        cores: CPU cores to use.

    Raises:
        PotstillError: what was finished stays in the cache: the same call goes on from there.
    """
    from potstill.pipeline.compared import Findings

    started = time.monotonic()
    cache = ArtifactCache(options.cache)
    spec.names()  # what is wrong with it is said before anything else
    _check_folder(out)
    found = comparison(recipe, spec, cache, options, progress)
    key = digest_json({name: node.key for name, node in sorted(found.graph.nodes.items())})
    before = _earlier(out)
    if before.get("sha256") == key and all(cache.has(n.key) for n in found.graph.nodes.values()):
        return Compared(out, before, False, time.monotonic() - started)
    run_all(found.graph, cache, options, progress, cores, {"compare": spec.model_dump(mode="json")})
    results = {**Findings(found, cache).assemble(recipe_text), "sha256": key}
    atomic.write_bytes(out / "recipe.yaml", recipe_text.encode())
    atomic.write_json(out / FILE, results)
    cache.digests.save()
    return Compared(out, results, True, time.monotonic() - started)


def comparison(
    recipe: Recipe, spec: CompareSpec, cache: ArtifactCache, options: RunOptions, progress: Progress
) -> Comparison:
    """Return the graph of a comparison; the data is prepared first, since the budget chooses models by its shape, or by their latency, which is
    measured before anything else runs."""
    first = _plain(recipe, cache)
    executor = Executor(first, cache, options, progress)
    executor.run(first.nodes["prepare"])
    found = joined(recipe, spec, cache, executor)
    check_formats(found.graph, cache)
    for arm, graph in zip(found.arms, found.graphs, strict=True):
        try:
            check_objectives(graph, cache, check_cuts(graph, cache))
            check_bits(graph, cache)
        except BudgetError as err:
            raise BudgetError(f"--arms {arm.name}: {err} Give another budget, or leave this arm out.") from err
    return found


def joined(recipe: Recipe, spec: CompareSpec, cache: ArtifactCache, executor: Executor | None = None) -> Comparison:
    """Return all arms in one graph, what they share once; the data must be prepared, and sizes measured where there is no executor."""
    if not recipe.export:
        raise PotstillError(f"{recipe.name}: a comparison runs artifacts; export is empty. Add {{kind: onnx}}.")
    plain = _plain(recipe, cache) if executor is None else executor.graph
    shape = shape_of(recipe.data, cache.path(plain.nodes["prepare"].key))
    assert shape is not None
    spec = budgeted(recipe, spec, shape)

    def sized(name: str, stage: SizeStage) -> dict[str, Any]:
        if name not in plain.nodes:
            plain.add(Node(name, stage, {"data": "prepare"}))
            compute_keys(plain, cache.digests)
        if executor is not None:
            executor.run(plain.nodes[name])
        facts: dict[str, Any] = artifact.manifest(cache.path(plain.nodes[name].key))["facts"]
        return facts

    arms = arms_of(recipe, spec, shape, sized)
    out = Comparison(Graph(recipe), arms, [build(arm.recipe, cache.digests, cache) for arm in arms], spec)
    for arm, graph in zip(arms, out.graphs, strict=True):
        _join(out.graph, graph, arm.name)
    for node in plain.named("size/"):
        out.graph.add(node)
    _add_artifacts(out, cache.digests)
    return out


def _plain(recipe: Recipe, cache: ArtifactCache) -> Graph:
    return build(recipe.model_copy(update={"controls": (), "export": (), "robustness": None}), cache.digests, cache)


def _join(graph: Graph, of_arm: Graph, arm: str) -> None:
    """Add the nodes of one arm's graph under its own name."""
    names: dict[str, str] = {}
    for name, node in of_arm.nodes.items():
        own = name.replace(f"/{STUDENT}/", f"/{arm}/") if node.arm else name
        if own in graph.nodes and graph.nodes[own].key != node.key:
            own = f"{own}@{arm}"
        names[name] = own
        if own not in graph.nodes:
            graph.add(replace(node, name=own, inputs={k: names[v] for k, v in node.inputs.items()}))


def _add_artifacts(found: Comparison, digests: StatCache) -> None:
    """Add each arm's artifact for each seed, its outputs, and one measurement of all."""
    graph, recipe = found.graph, found.graph.recipe
    exporter = recipe.export[0]
    inputs = {"data": "prepare", "teacher": "teach"}
    for arm in found.arms:
        for seed in range(recipe.seed, recipe.seed + recipe.seeds):
            given = {"data": "prepare", "student": found.last(arm.name, seed)}
            stage = ExportStage(exporter=exporter, task=recipe.task.kind)
            exported = Node(f"export/{arm.name}/seed{seed}", stage, given, arm=True)
            graph.add(exported)
            judge = JudgeStage(task=recipe.task, exporter=exporter)
            graph.add(Node(f"judge/{arm.name}/seed{seed}", judge, {**given, "exported": exported.name}, arm=True))
        inputs[f"{MEASURED}{arm.name}"] = found.last(arm.name, recipe.seed)
        inputs[f"{EXPORTED}{arm.name}"] = f"export/{arm.name}/seed{recipe.seed}"
    measure = MeasureStage(
        exporter=exporter, teacher=recipe.teacher, threads=recipe.verify.threads, blocks=recipe.verify.blocks,
        arms=tuple(arm.name for arm in found.arms), machine=machine(),
    )  # fmt: skip
    graph.add(Node("measure", measure, inputs))
    compute_keys(graph, digests)


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise PotstillError(f"--out {out}: must be a folder that can be made; got {err.strerror}.") from err
    foreign = [p.name for p in out.iterdir() if not atomic.is_partial(p)] if not (out / FILE).exists() else []
    if foreign:
        raise PotstillError(
            f"--out {out}: must be new, empty, or an earlier comparison; it holds {foreign[0]!r}. Choose another folder."
        )


def _earlier(out: Path) -> dict[str, Any]:
    try:
        found = atomic.read_json(out / FILE)
    except PotstillError:
        return {}
    return found if isinstance(found, dict) else {}
