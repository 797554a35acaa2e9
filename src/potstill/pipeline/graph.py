"""A recipe as a graph of stages: which there are, what each takes, and the key of each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from potstill.core.fingerprint import machine, package_versions, version_of
from potstill.core.hashing import StatCache, digest_json
from potstill.core.sources import modules_used, packages_used
from potstill.core.spec import Spec
from potstill.labels.spec import FeaturesSpec
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.places import by_name, places_of
from potstill.pipeline.shape import DataShape, shape_of
from potstill.recipe.model import Recipe
from potstill.stages import StageSpec, StepJob, StepSpec
from potstill.stages.choose import ChooseStage
from potstill.stages.evaluate import EvaluateStage
from potstill.stages.export import ExportStage
from potstill.stages.features import FeaturesStage
from potstill.stages.label import LabelStage
from potstill.stages.prepare import PrepareStage
from potstill.stages.robust import RobustStage
from potstill.stages.teach import TeachStage
from potstill.stages.verdict import COSTED, VerdictStage, costed_as
from potstill.stages.verify import VerifyStage
from potstill.teachers import TeacherSpec

STUDENT = "student"
"""Name of the arm that is not a control."""

ALONE = "hard-label"
"""The control that a student must beat where its objectives are chosen."""

KEY_SCHEMA = 2
_NO_NUMBERS = {"pydantic", "pydantic_core", "rich", "typer", "yaml"}
"""Packages that check and print: another version of them computes nothing else."""


@dataclass
class Node:
    """One stage of a run."""

    name: str
    """Such as distill/student/seed0."""
    spec: StageSpec
    inputs: dict[str, str] = field(default_factory=dict)
    """Input name -> name of the node that provides it."""
    arm: bool = False
    """One of many alike (an arm and a seed): these run beside one another."""
    key: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    """What the key was made from, for saying why it changed."""


@dataclass
class Graph:
    """Nodes in an order in which each comes after its inputs."""

    recipe: Recipe
    nodes: dict[str, Node] = field(default_factory=dict)
    waits: bool = False
    """Which features are stored is known once the data is prepared: then build it again. Until then it has none of them."""

    def add(self, node: Node) -> str:
        """Append a node and return its name."""
        self.nodes[node.name] = node
        return node.name

    def named(self, prefix: str) -> list[Node]:
        """Return the nodes whose name starts with `prefix`."""
        return [n for n in self.nodes.values() if n.name.startswith(prefix)]


def build(recipe: Recipe, digests: StatCache, cache: ArtifactCache | None = None) -> Graph:
    """Return the graph of a recipe with every key computed; reads files for their digests, computes nothing else, but for
    a dry run of both models where features are stored.

    Args:
        recipe: validated.
        digests: of files.
        cache: where a dry run is remembered, and the data's shape is found once it is prepared.
    """
    graph = Graph(recipe)
    add = graph.add
    data = add(Node("prepare", PrepareStage(data=recipe.data)))
    teach = TeachStage(task=recipe.task, teacher=recipe.teacher, augment=recipe.augment, seed=recipe.seed)
    teacher = add(Node("teach", teach, {"data": data}))
    lessons = _add_lessons(graph)
    steps = _store_features(graph, digests, cache)
    evaluated = EvaluateStage(task=recipe.task, teacher=recipe.teacher)
    add(Node("evaluate/teacher", evaluated, {"data": data, "teacher": teacher}))
    for arm in (*recipe.controls, STUDENT) if _chooses(recipe) else (STUDENT, *recipe.controls):
        for seed in range(recipe.seed, recipe.seed + recipe.seeds):
            _add_arm(graph, arm, seed, steps, lessons)
    for exporter in recipe.export:
        first = {"data": data, "student": last_step(graph, STUDENT, recipe.seed)}
        exported = add(Node(f"export/{exporter.kind}", ExportStage(exporter=exporter, task=recipe.task.kind), first))
        verify = VerifyStage(
            task=recipe.task, exporter=exporter, teacher=recipe.teacher, verify=recipe.verify,
            machine=machine(),
        )  # fmt: skip
        add(Node(f"verify/{exporter.kind}", verify, {**first, "exported": exported, "teacher": teacher}))
    _add_verdicts(graph)
    _add_robust(graph)
    compute_keys(graph, digests)
    return graph


def _add_verdicts(graph: Graph) -> None:
    recipe = graph.recipe
    for entry in recipe.devices:
        judged = entry.chosen(recipe.export)
        assert judged is not None, "a recipe is checked when it is loaded"
        source = costed_as(judged, recipe.export)
        inputs = {
            "data": "prepare",
            "exported": f"export/{judged.kind}",
            "verified": f"verify/{judged.kind}",
            "outputs": "evaluate/teacher",
        }
        if source not in (None, judged):
            inputs[COSTED] = f"export/{source.kind}"
        stage = VerdictStage(
            task=recipe.task, entry=entry, exporter=judged, costed=COSTED in inputs, student=recipe.student, threads=recipe.verify.threads,
        )  # fmt: skip
        graph.add(Node(f"verdict/{entry.profile().name}/{judged.kind}", stage, inputs))


def _add_robust(graph: Graph) -> None:
    """Add a node for each model whose answers to damaged samples are asked for: `robust/teacher`, `robust/control`, the strongest of
    the first seed, `robust/student`, and `robust/` each format."""
    recipe, seed = graph.recipe, graph.recipe.seed
    if recipe.robustness is None:
        return
    stage = RobustStage(task=recipe.task, robustness=recipe.robustness)
    student = {"data": "prepare", "student": last_step(graph, STUDENT, seed)}
    sides: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "teacher": ({"teacher": recipe.teacher}, {"data": "prepare", "teacher": "teach"}),
        "student": ({}, student),
        **{e.kind: ({"exporter": e}, {**student, "exported": f"export/{e.kind}"}) for e in recipe.export},
    }
    if recipe.controls:
        inputs = {f"student:{arm}": last_step(graph, arm, seed) for arm in recipe.controls}
        inputs |= {f"outputs:{arm}": f"evaluate/{arm}/seed{seed}" for arm in recipe.controls}
        sides["control"] = ({"controls": recipe.controls}, {"data": "prepare", **inputs})
    for name, (update, inputs) in sides.items():
        graph.add(Node(f"robust/{name}", stage.model_copy(update=update), inputs))


def last_step(graph: Graph, arm: str, seed: int) -> str:
    """Return the name of the node that leaves an arm's finished model."""
    return graph.named(f"steps/{arm}/seed{seed}/")[-1].name


@dataclass(frozen=True)
class _Lesson:
    """Whom a step learns from: the teacher, or the assistant of an earlier step."""

    teacher: TeacherSpec
    inputs: dict[str, str]
    """"teacher" and perhaps "labels" -> the node that provides it."""


def _add_lessons(graph: Graph) -> list[_Lesson]:
    """Add each label store and each assistant, once for all arms and seeds; return whom each step learns from."""
    recipe = graph.recipe
    lessons: list[_Lesson] = []
    teacher, node, label = recipe.teacher, "teach", "label"
    for i, step in enumerate(recipe.steps):
        if i == 0 or recipe.steps[i - 1].teaches() is not None:
            inputs = {"teacher": node}
            if recipe.labels.mode == "stored" and _reads_labels(recipe, i):
                spec = LabelStage(
                    teacher=teacher, labels=recipe.labels, augment=recipe.augment, augment_seed=recipe.seed
                )
                inputs["labels"] = graph.add(Node(label, spec, {"data": "prepare", "teacher": node}))
        lessons.append(_Lesson(teacher, inputs))
        taught = step.teaches()
        if taught is not None:
            stage = step.stage(_job(graph, STUDENT, recipe.seed, teacher))
            given = {k: v for k, v in {"data": "prepare", **inputs}.items() if k in stage.inputs_needed()}
            teacher, node, label = taught, graph.add(Node(f"assist/{i + 1}", stage, given)), f"label/{i + 1}"
            reads = {"data": "prepare", "student": node}
            graph.add(Node(f"evaluate/assistant/{i + 1}", EvaluateStage(task=recipe.task), reads))
    return lessons


def _reads_labels(recipe: Recipe, first: int) -> bool:
    """Return whether a step from `first` to the next assistant, that one included, reads its teacher's outputs."""
    for step in recipe.steps[first:]:
        if step.reads_teacher() or (step.teaches() is None and "hard-pseudo-label" in recipe.controls):
            return True
        if step.teaches() is not None:
            break
    return False


def _job(graph: Graph, arm: str, seed: int, teacher: TeacherSpec) -> StepJob:
    recipe = graph.recipe
    return StepJob(
        task=recipe.task, student=recipe.student, teacher=teacher, labels=recipe.labels, augment=recipe.augment,
        seed=seed, augment_seed=recipe.seed, control=None if arm == STUDENT else arm, controls=recipe.controls,
        features=FeaturesSpec() if graph.waits else recipe.features,
        runtimes=tuple(dict.fromkeys(name for e in recipe.export for name in e.runs_in)) if recipe.export else None,
        int8=any(step.leaves_integers() for step in recipe.steps),
    )  # fmt: skip


def _chooses(recipe: Recipe) -> bool:
    return any(step.chooses() for step in recipe.steps)


def data_shape(graph: Graph, cache: ArtifactCache) -> DataShape | None:
    """Return the data's shape: from the prepared data, or from its source without decoding it."""
    key = graph.nodes["prepare"].key
    return shape_of(graph.recipe.data, cache.path(key) if cache.has(key) else None)


def _store_features(graph: Graph, digests: StatCache, cache: ArtifactCache | None) -> list[StepSpec]:
    """Add a node for each place of the teacher whose features are stored; return the steps, with their taps by name."""
    recipe, steps = graph.recipe, list(graph.recipe.steps)
    if recipe.features.mode == "live" or not any(o.needs().taps for step in steps for o in step.terms()):
        return steps
    compute_keys(graph, digests)
    shape = shape_of(recipe.data, None) if cache is None else data_shape(graph, cache)
    if shape is None:
        graph.waits = True
        return steps

    def identify(spec: Spec, roots: tuple[str, ...]) -> dict[str, Any]:
        return {"spec": spec.identity(digests.digest), **_code(spec, roots, digests.digest)}

    student, teacher = places_of(recipe, shape, identify, None if cache is None else cache.root)
    steps, read = by_name(recipe, student, teacher)
    for place in read:
        stage = FeaturesStage(
            teacher=recipe.teacher, place=place.name, shape=place.shape, views=recipe.labels.views,
            codec=recipe.features.codec, augment=recipe.augment, augment_seed=recipe.seed,
        )  # fmt: skip
        graph.add(Node(f"features/{place.name}", stage, {"data": "prepare", "teacher": "teach"}))
    return steps


def _add_arm(graph: Graph, arm: str, seed: int, steps: list[StepSpec], lessons: list[_Lesson]) -> None:
    recipe = graph.recipe
    available = {"data": "prepare"}
    available |= {f"features:{n.name.removeprefix('features/')}": n.name for n in graph.named("features/")}
    for i, (step, lesson) in enumerate(zip(steps, lessons, strict=True), 1):
        if step.teaches() is not None:  # one for all
            continue
        spec = step.stage(_job(graph, arm, seed, lesson.teacher))
        inputs = {k: v for k, v in {**lesson.inputs, **available}.items() if k in spec.inputs_needed()}
        name = graph.add(Node(f"steps/{arm}/seed{seed}/{i}-{step.kind}", spec, inputs, arm=True))
        available[spec.provides] = name
    if arm == STUDENT and _chooses(recipe):
        ends = {
            "data": "prepare", "teacher": lessons[-1].inputs["teacher"], "student": available["student"],
            "control": last_step(graph, ALONE, seed),
        }  # fmt: skip
        name = f"steps/{arm}/seed{seed}/{len(recipe.steps) + 1}-choose"
        available["student"] = graph.add(Node(name, ChooseStage(task=recipe.task), ends, arm=True))
    evaluate = EvaluateStage(task=recipe.task)
    inputs = {"data": "prepare", "student": available["student"]}
    graph.add(Node(f"evaluate/{arm}/seed{seed}", evaluate, inputs, arm=True))


def compute_keys(graph: Graph, digests: StatCache) -> None:
    """Give every node that has none its key; inputs come before those that read them."""
    source = functools.cache(digests.digest)
    for node in (n for n in graph.nodes.values() if not n.key):
        node.parts = _parts(graph, node, digests.digest, source)
        node.key = digest_json(node.parts)
    digests.save()


def _parts(graph: Graph, node: Node, digest: Callable[[Path], str], source: Callable[[Path], str]) -> dict[str, Any]:
    return {
        "schema": KEY_SCHEMA,
        "spec": node.spec.identity(digest),
        "inputs": {name: graph.nodes[other].key for name, other in sorted(node.inputs.items())},
        **_code(node.spec, tuple(node.spec.uses()), source),
    }


def _code(spec: Spec, further: tuple[str, ...], source: Callable[[Path], str]) -> dict[str, Any]:
    """Return the sources and versions that decide what a spec does, `further` modules included."""
    roots = {m for part in spec.walk() for m in part.modules()} | set(further)
    versions = {name: version_of(name) for name in sorted(packages_used(roots) - _NO_NUMBERS)}
    return {
        "sources": {name: source(path) for name, path in sorted(modules_used(sorted(roots)).items())},
        "versions": {**package_versions(()), **versions},
    }


def still_so(graph: Graph, node: Node, digests: StatCache) -> bool:
    """Return whether a node's files and sources are what they were when its key was made."""
    try:
        return digest_json(_parts(graph, node, digests.digest, digests.digest)) == node.key
    except OSError:
        return False
