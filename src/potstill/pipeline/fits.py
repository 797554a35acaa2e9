"""Verdicts outside a run: on a student that is not trained yet, and on any file of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import artifact, atomic
from potstill.core.errors import PotstillError
from potstill.core.hashing import digest_json
from potstill.core.tensorfile import open_arrays
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost, cost_from
from potstill.exporters.c import CSpec
from potstill.mcu.build import CORES
from potstill.mcu.estimate import CODE
from potstill.mcu.instructions import COSTS
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.cuts import PlannedCut, example_rows
from potstill.pipeline.graph import STUDENT, Graph
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.stages.quantize import QuantizeStep
from potstill.stages.verdict import COSTED, NAME, VerdictStage, subject_of
from potstill.verify.smaller import smaller_student
from potstill.verify.verdict import Subject, verdict_on

if TYPE_CHECKING:
    from potstill.exporters import ExporterSpec

_AS, _AS_C = "the student untrained, as ONNX", "the student untrained, as the .tflite file that becomes C"

_NO_TEACHER = "the teacher's test outputs are not in the cache: run the recipe once"


def planned_verdicts(
    graph: Graph, cache: ArtifactCache, shape: DataShape | None, cuts: Sequence[PlannedCut]
) -> list[dict[str, Any]]:
    """Return a verdict on each device of the recipe, as `verdict_on` gives it: the run's own where it is finished, else of the graph that
    the student will have. What only a run measures is unknown until then, and accuracy left out. Torch is loaded for a
    student that was not asked for before, and to look for a smaller one where it does not fit.

    Args:
        graph: with keys.
        cache: says what is finished, and remembers what a student costs.
        shape: of the data; None where it is not known yet.
        cuts: what prune steps would leave.
    """
    out, student = [], graph.recipe.student
    smaller = None if shape is None else partial(smaller_student, student, shape.io, shape.stats)
    for node in graph.named("verdict/"):
        assert isinstance(node.spec, VerdictStage)
        if cache.has(node.key):
            out.append(atomic.read_json(cache.path(node.key) / NAME))
            continue
        entry = node.spec.entry
        budget = entry.budget().model_copy(update={"accuracy_drop": None})
        file, exporter = f"student{node.spec.exporter.suffix}", node.spec.exporter
        source = graph.nodes[node.inputs.get(COSTED) or node.inputs["exported"]]
        if cache.has(source.key):
            folder = cache.path(source.key)
            path = folder / str(artifact.manifest(folder)["facts"]["file"])
            subject = subject_of(exporter, graph.recipe.task, folder / file, path, {})
        else:
            subject = _before(graph, cache, shape, cuts, exporter, file)
        out.append(verdict_on(subject, entry.profile(), budget, smaller))
    return out


def _before(
    graph: Graph, cache: ArtifactCache, shape: DataShape | None, cuts: Sequence[PlannedCut], exporter: ExporterSpec, file: str
) -> Subject:  # fmt: skip
    """Return what will be judged of a student that is not exported yet."""
    recipe = graph.recipe
    if shape is None:
        return Subject(file, exporter.kind, None, "the data's shape is known once it is prepared", exporter.runs_in)
    if recipe.task.output == "tokens":
        return subject_of(exporter, recipe.task, Path(file), None, {})
    try:
        cost = _cut(_cost(recipe, shape, cache, exporter), _plans(graph, cache, cuts))
    except PotstillError as err:
        return Subject(file, exporter.kind, None, str(err), exporter.runs_in)
    return Subject(file, exporter.kind, cost, _AS_C if isinstance(exporter, CSpec) else _AS, exporter.runs_in)


def _cost(recipe: Recipe, shape: DataShape, cache: ArtifactCache, exporter: ExporterSpec) -> Cost:
    """Return what the student costs, quantised as the recipe says; remembered, since an export takes seconds."""
    bits = next((s for s in recipe.steps if isinstance(s, QuantizeStep)), None)
    quantised = None if bits is None else [bits.scheme, bits.float_layers]
    as_c = exporter if isinstance(exporter, CSpec) else None
    tables = [cache.digests.digest(COSTS), cache.digests.digest(CODE)] if as_c else []
    identity = ["cost", tables, recipe.student.identity(cache.digests.digest), vars(shape.io), quantised]
    file = cache.root / "profiles" / f"{digest_json(identity)}.json"
    if not file.exists():
        atomic.write_json(file, _exported_cost(recipe, shape, bits, as_c).as_dict())
    return cost_from(atomic.read_json(file))


def _exported_cost(recipe: Recipe, shape: DataShape, bits: QuantizeStep | None, as_c: CSpec | None) -> Cost:
    """Return the cost of a new student, exported as it would be: with what is done before it, which no quantisation rounds."""
    import torch

    from potstill.compress.quantize import quantise
    from potstill.models.tools.build import new_model
    from potstill.verify.on_device import exported_cost

    with torch.random.fork_rng(devices=()):
        new = new_model(recipe.student, shape.io, shape.stats)
    rows, module = example_rows(shape), new.module.eval()
    with torch.no_grad():
        spec = (
            None
            if bits is None
            else quantise(module, new.preprocess(rows), bits.scheme, bits.calibration, bits.float_layers).spec
        )
    inputs = new.preprocess.outside_numpy(rows.numpy())
    return exported_cost(new.preprocess.inside, module, inputs, spec, as_c)


def _plans(graph: Graph, cache: ArtifactCache, cuts: Sequence[PlannedCut]) -> list[dict[str, Any]]:
    """Return what each prune step leaves: as planned, or as it did where all of that is cached."""
    if cuts:
        return [cut.plan for cut in cuts]
    done = [
        n
        for n in graph.named(f"steps/{STUDENT}/seed{graph.recipe.seed}/")
        if n.spec.kind == "prune" and cache.has(n.key)
    ]
    return [artifact.manifest(cache.path(n.key))["facts"]["plan"] for n in done]


def _cut(cost: Cost, plans: Sequence[Mapping[str, Any]]) -> Cost:
    """Return the cost once the prune steps are done, by the shares of MACs and parameters that they leave."""
    for plan in plans:
        before, after = plan["before"], plan["after"]
        macs = after["macs"] / max(before["macs"], 1)
        cost = cost.scaled(macs, after["params"] / max(before["params"], 1), macs**0.5)
    return cost


def teacher_outputs(graph: Graph, cache: ArtifactCache) -> NDArray[Any] | None:
    """Return the teacher's test outputs where an earlier run left them in the cache."""
    key = graph.nodes["evaluate/teacher"].key
    return np.asarray(open_arrays(cache.path(key) / "outputs.safetensors")["outputs"]) if cache.has(key) else None


def core_verdicts(
    recipe: Recipe, model: Path, device: str, on_core: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a verdict on generated C that was built and run for a device, for each entry of a recipe that is this device.

    Args:
        recipe: whose devices and task.
        model: its model.c.
        device: as the user names it.
        on_core: what `verify_on_core` found.
        facts: what `verify_model` measured of it here.
    """
    same = [] if device in CORES else [e for e in recipe.devices if e.profile().name == profile_of(device).name]
    measured = {"on_core": on_core, "accuracy_drop": facts.get("accuracy_drop", _NO_TEACHER)}
    subject = subject_of(CSpec(), recipe.task, model, None, measured)
    return [verdict_on(subject, entry.profile(), entry.budget()) for entry in same]


def file_verdicts(
    recipe: Recipe, model: Path, exporter: ExporterSpec, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a verdict on a model file for each device of a recipe.

    Args:
        recipe: whose devices and task.
        model: the file.
        exporter: of its format.
        facts: what `verify_model` measured of it.
    """
    measured = {"latency_ms": facts["latency_ms"], "memory": facts["peak_memory_bytes"], "file_bytes": facts["file_bytes"],
                "accuracy_drop": facts.get("accuracy_drop", _NO_TEACHER)}  # fmt: skip
    subject = subject_of(exporter, recipe.task, model, None, measured)
    return [verdict_on(subject, entry.profile(), entry.budget()) for entry in recipe.devices]
