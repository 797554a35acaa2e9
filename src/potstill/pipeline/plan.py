"""What a run would do, said before anything is computed: stages, cached or not and why, time, disk, models."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core import artifact, atomic
from potstill.core.errors import PotstillError
from potstill.core.hashing import digest_json
from potstill.core.samples import FORMS
from potstill.core.units import human_bytes, human_seconds
from potstill.models import ModelSpec
from potstill.pipeline.bits import check_bits
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.pipeline.cuts import PlannedCut, check_cuts
from potstill.pipeline.fits import planned_verdicts
from potstill.pipeline.formats import check_formats
from potstill.pipeline.graph import Graph, Node, build, data_shape
from potstill.pipeline.schedule import threads_for
from potstill.pipeline.shape import DataShape
from potstill.pipeline.taps import check_objectives
from potstill.recipe.model import Recipe
from potstill.stages.features import FeaturesStage
from potstill.stages.label import LabelStage
from potstill.stages.robust import RobustStage
from potstill.train.choice import SHARE

if TYPE_CHECKING:
    from potstill.pipeline.probe import FeatureCost

_MACS_PER_SECOND = 4e9
"""Of one ordinary core in float32 convolutions; only until this machine has run something alike."""
_STEP_OVERHEAD_S = 2e-3
_CORRUPT_S = 2e-4
"""Of one small sample."""
_FIXED_S = {"export": 12.0, "verify": 12.0, "prune": 5.0, "inherit": 0.5, "verdict": 0.5}
"""Of stages that hardly depend on the rows."""

_VERDICT_BYTES = 8000


@dataclass
class Line:
    """One stage of a plan, or several alike."""

    stage: str
    state: str
    """cached, resume or run."""
    why: str
    seconds: float | None
    """Modelled, or as it took before; 0 where cached; None where nothing is known."""
    bytes: int | None


@dataclass
class Plan:
    """A plan."""

    lines: list[Line]
    models: dict[str, dict[str, Any] | None]
    taps: dict[str, list[dict[str, Any]]]
    """Path of an objective on features -> the pairs that it would read; empty once all of that is cached."""
    features: list[FeatureCost] = field(default_factory=list)
    """What these places of the teacher cost, stored and live."""
    features_mode: str = "live"
    cuts: list[PlannedCut] = field(default_factory=list)
    """What each prune step would leave; empty once all of that is cached."""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """On each device of the recipe, as `verify.verdict` gives it."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"stages": [asdict(line) for line in self.lines], "models": self.models, "taps": self.taps,
                "features": [asdict(cost) for cost in self.features],
                "cuts": [cut.as_dict() for cut in self.cuts], "verdicts": self.verdicts}  # fmt: skip

    def summary(self) -> str:
        """Return one sentence."""
        todo = [line for line in self.lines if line.state != "cached"]
        if not todo:
            return "Everything is cached: a run would only read it."
        seconds = sum(line.seconds or 0 for line in todo)
        size = sum(line.bytes or 0 for line in todo)
        return f"{len(todo)} of {len(self.lines)} to do: about {human_seconds(seconds)} (modelled) and {human_bytes(size)}."


def make_plan(recipe: Recipe) -> Plan:
    """Return what `potstill run` would do with this recipe now."""
    cache = ArtifactCache(default_root())
    graph = build(recipe, cache.digests, cache)
    shape = data_shape(graph, cache)
    models = {
        "teacher": _profile(getattr(recipe.teacher, "model", None), shape, cache),
        **{
            f"assistant {i}": _profile(getattr(taught, "model", None), shape, cache)
            for i, step in enumerate(recipe.steps, 1)
            if (taught := step.teaches()) is not None
        },
        "student": _profile(recipe.student, shape, cache),
    }
    before = _earlier(recipe)
    cost = _Cost(graph, shape, models)
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes.values():
        groups.setdefault(_group(node), []).append(node)
    lines = [_line(name, nodes, cache, before, cost) for name, nodes in groups.items()]
    if graph.waits:
        lines.append(Line("features", "run", "its places are known once the data is prepared", None, None))
    check_formats(graph, cache)
    cuts = check_cuts(graph, cache)
    taps = check_objectives(graph, cache, cuts)
    check_bits(graph, cache)
    verdicts = planned_verdicts(graph, cache, shape, cuts)
    return Plan(lines, models, taps, _features(graph, shape, taps, cache), recipe.features.mode, cuts, verdicts)


def _features(
    graph: Graph, shape: DataShape | None, taps: dict[str, list[dict[str, Any]]], cache: ArtifactCache
) -> list[FeatureCost]:
    """Return what each place that is read costs; the probe, and torch with it, only where there is one."""
    names = list(dict.fromkeys(pair["teacher"] for pairs in taps.values() for pair in pairs))
    if not names or shape is None:
        return []
    from potstill.pipeline.probe import feature_costs

    reads = (s for s in graph.recipe.steps if any(o.needs().taps is not None for o in s.terms()))
    batch = next((s.training.batch_size for s in reads if hasattr(s, "training")), 64)
    threads = threads_for(graph, os.cpu_count() or 1)[1]
    return feature_costs(graph.recipe, shape, names, min(batch, shape.train_rows), threads, cache.root)


def _profile(spec: ModelSpec | None, shape: DataShape | None, cache: ArtifactCache) -> dict[str, Any] | None:
    """Return a zoo model's parameters, MACs and peak activations; torch is loaded only the first time."""
    if spec is None or shape is None:
        return None
    identity = [spec.identity(cache.digests.digest), vars(shape.io)]
    file = cache.root / "profiles" / f"{digest_json(identity)}.json"
    if not file.exists():
        from potstill.models.tools.build import new_model
        from potstill.models.tools.profile import profile

        new = new_model(spec, shape.io, shape.stats)
        atomic.write_json(file, {"name": spec.kind, **profile(new.module, new.io).as_dict()})
    found: dict[str, Any] = atomic.read_json(file)
    return {k: found[k] for k in ("name", "params", "macs", "peak_activation_bytes")}


def _earlier(recipe: Recipe) -> dict[str, Any]:
    """Return the key parts of the last run of this name, in the default place."""
    try:
        parts: dict[str, Any] = atomic.read_json(Path("runs") / recipe.name / "run.json")["parts"]
        return parts
    except (PotstillError, KeyError, TypeError):
        return {}


def _group(node: Node) -> str:
    """Seeds of one arm share a line."""
    return "/".join(part for part in node.name.split("/") if not part.startswith("seed"))


def _line(name: str, nodes: list[Node], cache: ArtifactCache, before: dict[str, Any], cost: _Cost) -> Line:
    todo = [n for n in nodes if not cache.has(n.key)]
    title = f"{name} ×{len(nodes)}" if len(nodes) > 1 else name
    if not todo:
        size = sum(sum(f["bytes"] for f in artifact.manifest(cache.path(n.key))["files"].values()) for n in nodes)
        return Line(title, "cached", "", 0.0, size)
    first = todo[0]
    state = "resume" if any(cache.half_done(n.key) for n in todo) else "run"
    why = reason(before.get(first.name), first.parts)
    if len(todo) < len(nodes):
        why = f"{len(nodes) - len(todo)} of {len(nodes)} cached; {why}"
    seconds = [cost.seconds(n) for n in todo]
    sizes = [cost.bytes(n) for n in todo]
    return Line(
        title, state, why,
        None if None in seconds else sum(s or 0 for s in seconds),
        None if None in sizes else sum(b or 0 for b in sizes),
    )  # fmt: skip


def reason(old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """Return why a key is not the one it was: the first thing that differs."""
    if old is None:
        return "not made yet"
    for name in new["inputs"]:
        if old["inputs"].get(name) != new["inputs"][name]:
            return f"its {name} changed"
    if old["spec"] != new["spec"]:
        return _difference(old["spec"], new["spec"], "")
    changed = [m for m in {**old["sources"], **new["sources"]} if old["sources"].get(m) != new["sources"].get(m)]
    if changed:
        return f"the source of {', '.join(sorted(changed)[:3])} changed"
    moved = [p for p in new["versions"] if old["versions"].get(p) != new["versions"][p]]
    if moved:
        return ", ".join(f"{p} {old['versions'].get(p)} → {new['versions'][p]}" for p in moved)
    return "not in the cache any more"


def _difference(old: Any, new: Any, path: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                return _difference(a, b, f"{path}[{i}]")
    if path.endswith(".content"):
        return f"{path.removesuffix('.content')}: the file's content changed"
    short = [text if len(text) < 40 else text[:37] + "..." for text in (str(old), str(new))]
    return f"{path}: {short[0]} → {short[1]}"


def _assistant(node: str) -> str:
    """Return the role of the assistant whose node it is, such as assist/1."""
    return f"assistant {node.rsplit('/', 1)[-1]}"


class _Cost:
    """Rough cost of a stage, from rows, MACs and a constant rate."""

    def __init__(self, graph: Graph, shape: DataShape | None, models: dict[str, dict[str, Any] | None]) -> None:
        self._shape, self._graph = shape, graph
        self._recipe = graph.recipe
        self._macs = {role: (m or {}).get("macs") for role, m in models.items()}
        self._params = {role: (m or {}).get("params") for role, m in models.items()}

    def seconds(self, node: Node) -> float | None:
        """Return modelled seconds with every core at work (arms share them), or None."""
        seconds = self._core_seconds(node)
        parallel = node.spec.kind in ("label", "features", "evaluate", "teach", "assist") or node.arm
        return seconds if seconds is None or not parallel else seconds / (os.cpu_count() or 1)

    def _core_seconds(self, node: Node) -> float | None:
        shape, kind = self._shape, node.spec.kind
        if shape is None:
            return None
        student, teacher = self._macs["student"], self._macs[self._teacher_of(node)]
        if kind == "assist" or node.name.startswith("evaluate/assistant/"):
            student = self._macs[_assistant(node.name)]
        if kind == "prepare":
            return 0.5 + (shape.train_rows + shape.test_rows) / 50_000
        if kind in _FIXED_S:
            timing = getattr(getattr(node.spec, "verify", None), "timing", None)
            return _FIXED_S[kind] + (0.0 if timing is None else _FIXED_S["verify"] + timing.sustained_s)
        if kind in ("label", "features"):
            return (
                None if teacher is None else shape.train_rows * self._recipe.labels.views * teacher / _MACS_PER_SECOND
            )
        if kind in ("evaluate", "choose"):
            macs = teacher if node.name.endswith("teacher") else student
            return None if macs is None else shape.test_rows * macs / _MACS_PER_SECOND + 0.2
        if isinstance(node.spec, RobustStage):
            macs = student if node.spec.teacher is None else teacher
            return None if macs is None else self._samples(node.spec) * (macs / _MACS_PER_SECOND + _CORRUPT_S) + 0.2
        if kind == "quantize" and not getattr(node.spec, "objectives", ()):
            return 12.0
        training = getattr(node.spec, "training", None) or getattr(self._recipe.teacher, "training", None)
        macs = teacher if kind == "teach" else student
        if training is None:
            return 2.0
        if macs is None:
            return None
        steps = training.epochs * -(-shape.train_rows // training.batch_size)
        if kind == "auto-distill":
            steps += steps // SHARE  # of the losers, at most
        macs = 3 * macs  # forward and backward
        taps = any(o.needs().taps is not None for o in getattr(node.spec, "objectives", ()))
        if taps and getattr(node.spec, "features", "live") == "live":
            macs += teacher or 0  # runs on every batch
        return float(steps * (_STEP_OVERHEAD_S + macs * training.batch_size / _MACS_PER_SECOND))

    def _samples(self, spec: RobustStage) -> int:
        """Return how many samples a model reads, clean and corrupted."""
        assert self._shape is not None
        asked, rows = spec.robustness, self._shape.test_rows
        return min(asked.rows, rows) * (1 + len(asked.names(self._shape.io.kind)) * len(asked.severities))

    def _teacher_of(self, node: Node) -> str:
        """Return the role of the model whose outputs a node reads or makes."""
        found = node.inputs.get("teacher") or node.inputs.get("labels") or "teach"
        found = self._graph.nodes[found].inputs["teacher"] if found.startswith("label") else found
        return "teacher" if found == "teach" else _assistant(found)

    def bytes(self, node: Node) -> int | None:
        """Return modelled bytes on disk, or None."""
        shape, kind = self._shape, node.spec.kind
        if shape is None:
            return None
        if kind == "prepare":
            sample = math.prod(shape.io.shape) * FORMS[shape.io.kind].stored_bytes()
            targets = (
                4 * shape.io.row_width if len(shape.io.outputs) > 1 else shape.io.row_width * (shape.io.kind == "text")
            )
            return (shape.train_rows + shape.test_rows) * (sample + targets + 33)
        rows = shape.train_rows * self._recipe.labels.views
        if isinstance(node.spec, LabelStage):
            model, codec = getattr(node.spec.teacher, "model", None), node.spec.labels.codec
            io = model.input.seen(shape.io) if model is not None and codec.per_token else shape.io
            return rows * codec.row_bytes(io.row_width)
        if isinstance(node.spec, FeaturesStage):
            return rows * node.spec.codec.row_bytes(math.prod(node.spec.shape))
        if kind == "verdict":
            return _VERDICT_BYTES
        if kind in ("evaluate", "verify"):
            return shape.test_rows * shape.io.row_width * 4
        if isinstance(node.spec, RobustStage):
            return self._samples(node.spec) * shape.io.row_width * 4
        params = self._params[{"teach": "teacher", "assist": _assistant(node.name)}.get(kind, "student")]
        return None if params is None else 4 * int(params)
