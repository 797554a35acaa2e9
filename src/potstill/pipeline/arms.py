"""The arms of a comparison: one recipe each, all with the same teacher, data, training and budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from potstill.core.errors import PotstillError, nearest
from potstill.core.spec import Spec
from potstill.models import ModelSpec
from potstill.pipeline.shape import DataShape
from potstill.recipe.load import check
from potstill.recipe.model import Recipe
from potstill.stages import StepSpec
from potstill.stages import steps as step_kinds
from potstill.stages._controls import objectives_of

CONTROL = "control"
PARTS = ("prune", "distill", "quantize")
"""What an arm may join, in the order in which it is done."""
ARMS = ("prune", "quantize", "distill", "prune+distill", "distill+quantize", "prune+distill+quantize")
_SAYS = {
    "control": "a small model trained alone",
    "distill": "a small model that learns from the teacher",
    "prune": "the teacher cut down and trained on alone",
    "prune+distill": "the teacher cut down, learning from the whole one",
    "quantize": "the teacher in integers",
    "distill+quantize": "a model that learns from the teacher, in integers",
    "prune+quantize": "the teacher cut down and trained on alone, in integers",
    "prune+distill+quantize": "the teacher cut down, learning from the whole one, in integers",
}


class CompareSpec(Spec):
    """What is compared, and what all must keep to."""

    arms: tuple[str, ...] = Field(default=ARMS, min_length=1)
    """Names of parts joined by +: prune, distill, quantize. The control, the small model trained alone, always joins them."""
    weight_bytes: int | None = Field(default=None, ge=1)
    """Most bytes of an arm's weights as they are stored, 4 a parameter in float32 and 1 in int8; None and no `macs`: what the
    recipe's student takes in float32. Not both."""
    macs: int | None = Field(default=None, ge=1)
    """Most MACs of one sample, which stand for latency while models are chosen; latency itself is measured."""

    def names(self) -> tuple[str, ...]:
        """Return the arms in order, the control first, each as its parts are done.

        Raises:
            PotstillError: a part that there is not, or two budgets.
        """
        if self.weight_bytes is not None and self.macs is not None:
            raise PotstillError("--weight-bytes, --macs: one of the two must be the budget; got both. Leave one out.")
        return (CONTROL, *dict.fromkeys(_ordered(name) for name in self.arms if name != CONTROL))


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    name: str
    recipe: Recipe
    """With this arm's student and steps, no controls, and nothing exported."""

    @property
    def says(self) -> str:
        """What it is, in words."""
        return _SAYS[self.name]


def _ordered(name: str) -> str:
    found = [part.strip() for part in name.split("+")]
    for part in found:
        if part not in PARTS:
            raise PotstillError(
                f"--arms: must join {', '.join(PARTS)} by +; got {name!r}. {nearest(part, PARTS)}".rstrip()
            )
    return "+".join(part for part in PARTS if part in found)


def arms_of(recipe: Recipe, spec: CompareSpec, shape: DataShape) -> list[Arm]:
    """Return the recipe of each arm.

    The distill, prune and quantize steps are the recipe's own where it has them, so that an arm without a part leaves that step
    out; a part that the recipe lacks has its defaults. Every arm is trained as the recipe's distill step says.

    Args:
        recipe: with a distill step.
        spec: arms, and a budget that is said.
        shape: of the data.

    Raises:
        PotstillError: an arm that this recipe cannot have.
        RecipeError: what an arm would be does not work.
    """
    steps = _Steps(recipe)
    chosen = _Sizes(recipe, spec, shape)
    out = []
    for name in spec.names():
        parts = () if name == CONTROL else tuple(name.split("+"))
        size = 1 if "quantize" in parts else 4
        if "prune" in parts or parts == ("quantize",):
            student = _bare(steps.teacher(name))
            done = [_step("inherit")]
            if "prune" in parts:
                done += [steps.prune(chosen.left(size)), steps.distill("distill" in parts)]
        else:
            student, done = chosen.student(size), [steps.distill("distill" in parts)]
        if "quantize" in parts:
            done.append(steps.quantize("distill" in parts))
        arm = recipe.model_copy(
            update={"student": student, "steps": tuple(done), "controls": (), "export": (), "robustness": None}
        )
        check(arm)
        out.append(Arm(name, arm))
    return out


class _Steps:
    """The steps that arms are made of."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        first: dict[str, StepSpec] = {}
        for step in recipe.steps:
            if step.teaches() is None:
                first.setdefault(step.kind, step)
        if "distill" not in first:
            raise PotstillError(
                f"{recipe.name}: a comparison needs a step that says how arms are trained; there is no step of kind distill."
            )
        self._first = first

    def teacher(self, arm: str) -> ModelSpec:
        model = getattr(self._recipe.teacher, "model", None)
        if not isinstance(model, ModelSpec):
            raise PotstillError(
                f"--arms {arm}: begins with the teacher's own weights, and a teacher of kind {self._recipe.teacher.kind!r} has "
                "none here. Leave this arm out, or use a teacher of kind train or zoo."
            )
        return model

    def distill(self, taught: bool) -> StepSpec:
        """Return the recipe's own training, or the same on the truth alone."""
        step = self._first["distill"]
        if taught:
            return step
        return step.model_copy(
            update={"objectives": objectives_of("hard-label", self._recipe.task.output), "balance": None}
        )

    def prune(self, budget: dict[str, int]) -> StepSpec:
        """Return the recipe's own cut, its size set by the budget."""
        own = self._first.get("prune")
        kept = {} if own is None else {k: v for k, v in dict(own).items() if k not in ("kind", "ratio", "budget")}
        return _step("prune", **kept, budget=budget)

    def quantize(self, taught: bool) -> StepSpec:
        """Return the recipe's own rounding; an arm without a teacher trains with it, where it does, on the truth alone."""
        step = self._first.get("quantize") or _step("quantize", scheme="int8_static_per_channel")
        if taught or not step.terms():
            return step
        return step.model_copy(update={"objectives": objectives_of("hard-label", self._recipe.task.output)})


def budgeted(recipe: Recipe, spec: CompareSpec, shape: DataShape) -> CompareSpec:
    """Return `spec` with its budget said: where it says none, what the recipe's student takes in float32."""
    from potstill.models.tools.build import new_model

    if spec.weight_bytes is not None or spec.macs is not None:
        return spec
    module = new_model(_bare(recipe.student), shape.io, shape.stats).module
    return spec.model_copy(update={"weight_bytes": 4 * sum(p.numel() for p in module.parameters())})


def _step(kind: str, **fields: Any) -> StepSpec:
    found: StepSpec = step_kinds[kind](kind=kind, **fields)
    return found


def _bare(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"weights": None, "backbone": None})


class _Sizes:
    """How large a model may be, by the bytes of one weight."""

    def __init__(self, recipe: Recipe, spec: CompareSpec, shape: DataShape) -> None:
        self._own, self._spec, self._shape = recipe.student, spec, shape
        self._found: dict[int, ModelSpec] = {}

    def student(self, size: int) -> ModelSpec:
        """Return the recipe's student, as wide as the budget allows."""
        from potstill.models.tools.scaled import widest

        if size not in self._found:
            self._found[size] = widest(self._own, self._shape.io, self._shape.stats, self._fits(size))
        return self._found[size]

    def left(self, size: int) -> dict[str, int]:
        """Return what pruning must leave."""
        limit, macs = self._spec.weight_bytes, self._spec.macs
        if limit is not None:
            return {"params": limit // size}
        assert macs is not None
        return {"macs": macs}

    def _fits(self, size: int) -> Callable[[Any], bool]:
        limit, macs = self._spec.weight_bytes, self._spec.macs
        return lambda cost: (limit is None or cost.params * size <= limit) and (macs is None or cost.macs <= macs)
