"""The places of a recipe's two models, found by a dry run that is remembered: later plans and reruns load no torch for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.core.errors import PotstillError, RecipeError
from potstill.core.hashing import digest_json
from potstill.core.spec import Spec
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.stages import StepSpec
from potstill.taps import Place, TapPair, Taps, TapSort
from potstill.taps.pairing import resolve

ROOTS = ("potstill.models.tools.build", "potstill.taps.places")
"""Modules that decide, beside a model's own, what a dry run finds."""

Identify = Callable[[Spec, tuple[str, ...]], dict[str, Any]]
"""(spec, further modules) -> all that decides what it builds: fields, contents of files, sources, versions."""


def places_of(
    recipe: Recipe, shape: DataShape, identify: Identify, root: Path | None
) -> tuple[list[Place], list[Place]]:
    """Return the places of (student, teacher), from an earlier dry run where one is known.

    Args:
        recipe: its teacher must be tappable.
        shape: of the data.
        identify: of a model; another digest of it is another dry run.
        root: folder where a dry run is remembered; None: nowhere.
    """
    found: list[list[Place]] = []
    looked: dict[str, tuple[Any, list[Place]]] = {}
    for role, spec in (("student", recipe.student), ("teacher", recipe.teacher)):
        key = digest_json({"role": role, "io": vars(shape.io), **identify(spec, ROOTS)})
        file = None if root is None else root / "places" / f"{key}.json"
        known = None if file is None else _remembered(file)
        if known is None:
            looked = looked or dry_run(recipe, shape)
            known = looked[role][1]
            if file is not None:
                listed = [asdict(p) for p in known]
                atomic.write_json(file, {"places": listed, "checksum": digest_json(listed)})
        found.append(known)
    return found[0], found[1]


def dry_run(recipe: Recipe, shape: DataShape) -> dict[str, tuple[Any, list[Place]]]:
    """Return role -> (what has `module` and `preprocess`, its places); loads torch. The teacher only where it is tappable."""
    import torch

    from potstill.models.tools.build import new_model
    from potstill.taps.places import ROWS, list_places

    pixels = torch.zeros(ROWS, *shape.io.shape, dtype=getattr(torch, shape.io.dtype))
    models: dict[str, Any] = {"student": new_model(recipe.student, shape.io, shape.stats)}
    if recipe.teacher.tappable:
        models["teacher"] = recipe.teacher.architecture(shape.io, shape.stats)
    return {role: (m, list_places(m.module, m.preprocess(pixels), role)) for role, m in models.items()}


def by_name(recipe: Recipe, student: list[Place], teacher: list[Place]) -> tuple[list[StepSpec], list[Place]]:
    """Return (the recipe's steps with every pair of places by name, the teacher's places that they read).

    Raises:
        RecipeError: taps that name nothing, of all objectives at once.
    """
    read: dict[str, Place] = {}
    faults: list[str] = []

    def namer(step: int) -> Callable[[int, Taps, TapSort], tuple[TapPair, ...]]:
        def name(number: int, taps: Taps, sort: TapSort) -> tuple[TapPair, ...]:
            try:
                pairs = resolve(taps, student, teacher, f"steps[{step}].objectives[{number}]", sort)
            except RecipeError as err:
                faults.extend(err.faults)
                return ()
            read.update({p.teacher.name: p.teacher for p in pairs})
            return tuple(TapPair(student=p.student.name, teacher=p.teacher.name) for p in pairs)

        return name

    steps = [step.named(namer(i)) for i, step in enumerate(recipe.steps)]
    if faults:
        raise RecipeError(faults)
    return steps, list(read.values())


def _remembered(file: Path) -> list[Place] | None:
    """Return what an earlier dry run found; None where there was none, or its record is damaged: it is then made again."""
    try:
        record = atomic.read_json(file)
        if record["checksum"] != digest_json(record["places"]):
            return None
        return [Place(**{**place, "shape": tuple(place["shape"])}) for place in record["places"]]
    except (PotstillError, AttributeError, KeyError, TypeError, ValueError):
        return None
