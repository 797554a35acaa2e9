"""The places of a recipe's two models and what its objectives ask of them and of the data, known from shapes before
anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from potstill.core.errors import PotstillError, RecipeError
from potstill.core.progress import Progress
from potstill.objectives import ObjectiveSpec
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.pipeline.cuts import PlannedCut
from potstill.pipeline.execute import Executor
from potstill.pipeline.graph import Graph, build, data_shape
from potstill.pipeline.places import dry_run
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions
from potstill.taps import Place
from potstill.teachers import TeacherSpec

if TYPE_CHECKING:
    from potstill.taps.pairing import Pair


_TRIED = (1, 2, 3, 20, 1001)
"""Numbers of classes that show whether an objective refuses any."""


@dataclass
class TapReport:
    """What can be tapped in a recipe's models and what is."""

    student: list[Place]
    teacher: list[Place] | None
    """None for a teacher that is no torch module here."""
    auto: list[Pair]
    """What `taps: auto` pairs; empty where a model has no stages."""
    terms: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Path of an objective on features in the recipe -> its pairs: student, teacher, joined_by."""
    faults: list[str] = field(default_factory=list)
    """Of objectives whose pairs are not possible."""


def tap_report(recipe: Recipe, progress: Progress) -> TapReport:
    """Return every place of a recipe's models with its shape. The data is prepared first where only that shows its shape."""
    cache = ArtifactCache(default_root())
    graph = build(recipe, cache.digests, cache)
    shape = data_shape(graph, cache)
    if shape is None:
        Executor(graph, cache, RunOptions(cache.root), progress).run(graph.nodes["prepare"])
        shape = data_shape(graph, cache)
        assert shape is not None
    return _report(recipe, shape)


def check_objectives(
    graph: Graph, cache: ArtifactCache, cuts: Sequence[PlannedCut] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Look at what objectives ask of the data and the models; return the pairs of each objective on features, by its path
    in the recipe. Empty where nothing is left to train, or the data's shape is not known yet: the training looks again.

    Args:
        graph: with keys.
        cache: says what is finished.
        cuts: as `check_cuts` gives them: after these, the student's places are others.

    Raises:
        RecipeError: objectives that cannot teach so many classes, pairs that are not possible, or a choice without
            validation rows, all at once.
    """
    waiting = [n for n in (*graph.named("assist/"), *graph.named("steps/")) if not cache.has(n.key)]
    taps = any(_reads(o) for node in waiting for o in getattr(node.spec, "objectives", ()))
    chooses = any(step.chooses() for step in graph.recipe.steps)
    # Opening a source may read all of it: only where something depends on what it holds.
    other = graph.recipe.task.output != "classes" or graph.recipe.data.gives() != "image"
    asks = taps or chooses or other or any(_classes_refused(graph.recipe, num) for num in _TRIED)
    shape = data_shape(graph, cache) if waiting and asks else None
    if shape is None:
        return {}
    faults = _other_truth(graph.recipe, shape)
    faults += _classes_refused(graph.recipe, shape.io.num_classes) + _nothing_to_choose_by(graph.recipe, shape)
    terms = {}
    if taps:
        found = _report(graph.recipe, shape, cuts)
        faults, terms = faults + found.faults, found.terms
    if faults:
        raise RecipeError(faults)
    return terms


def _other_truth(recipe: Recipe, shape: DataShape) -> list[str]:
    """Say where the data's truth is of another sort than the task asks for."""
    given = {0: "classes", 1: "flags", 2: "values"}[len(shape.target_shape or ())]
    if recipe.task.output in (given, "tokens"):
        return []
    words = {"classes": "one label a row", "flags": "several classes a row", "values": "values to be forecast"}
    return [f"task.kind: {recipe.task.kind!r} needs {words[recipe.task.output]}, and the data has {words[given]}. Use another "
            "task, or another source."]  # fmt: skip


def _classes_refused(recipe: Recipe, num_classes: int) -> list[str]:
    faults = []
    for i, step in enumerate(recipe.steps):
        for j, objective in enumerate(step.terms()):
            why = objective.refuses(num_classes)
            if why is not None:
                faults.append(
                    f"steps[{i}].objectives[{j}]: {objective.kind!r} cannot teach {num_classes} classes. {why}."
                )
    return faults


def _nothing_to_choose_by(recipe: Recipe, shape: DataShape) -> list[str]:
    return [
        f"steps[{i}].objectives: auto chooses on validation rows, and the data has none. Leave its empty validation split "
        "out, so that one is drawn (data.validation: 0.1), or state the objectives."
        for i, step in enumerate(recipe.steps)
        if step.chooses() and shape.validation_rows == 0
    ]


def _reads(objective: ObjectiveSpec) -> bool:
    return objective.needs().taps is not None


def _report(recipe: Recipe, shape: DataShape, cuts: Sequence[PlannedCut] = ()) -> TapReport:
    from potstill.taps.pairing import auto_pairs

    found = dry_run(recipe, shape)
    student = found["student"][1]
    teacher = found["teacher"][1] if "teacher" in found else None
    report = TapReport(student, teacher, [] if teacher is None else auto_pairs(student, teacher))
    theirs, left = teacher, {cut.step: cut.places for cut in cuts}
    for i, step in enumerate(recipe.steps):
        student = left.get(i, student)
        taught = step.teaches()
        reading = [(j, o) for j, o in enumerate(step.terms()) if _reads(o)] if theirs is not None else []
        ours = (
            _places(taught, shape, "student") if reading and taught is not None else student
        )  # an assistant learns here
        for j, objective in reading:
            _add_term(report, objective, f"steps[{i}].objectives[{j}]", ours, theirs or [])
        theirs = theirs if taught is None else _places(taught, shape, "teacher")
    return report


def _places(spec: TeacherSpec, shape: DataShape, role: str) -> list[Place]:
    """Return the places of an assistant, as it learns ("student") or as it teaches ("teacher")."""
    import torch

    from potstill.taps.places import ROWS, list_places

    pixels = torch.zeros(ROWS, *shape.io.shape, dtype=getattr(torch, shape.io.dtype))
    labeller = spec.architecture(shape.io, shape.stats)
    return list_places(labeller.module, labeller.preprocess(pixels), role)


def _add_term(report: TapReport, objective: Any, where: str, student: list[Place], teacher: list[Place]) -> None:
    from potstill.taps.pairing import resolve

    needs = objective.needs()
    try:
        report.terms[where] = [
            {"student": pair.student.name, "teacher": pair.teacher.name,
             "joined_by": objective.joint(pair.student.shape, pair.teacher.shape, f"{where} {pair.name}").says}
            for pair in resolve(needs.taps, student, teacher, where, needs.tap_sort)
        ]  # fmt: skip
    except RecipeError as err:
        report.faults += err.faults
    except PotstillError as err:
        report.faults.append(str(err))
