"""The arms of a comparison: one recipe each, all with the same teacher, data, training and budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from potstill.compress._settings import PruneSettings
from potstill.core.errors import BudgetError, PotstillError, RecipeError, nearest
from potstill.core.fingerprint import machine
from potstill.core.spec import Spec
from potstill.devices.host import HOST
from potstill.models import ModelSpec
from potstill.pipeline.shape import DataShape
from potstill.recipe.load import check
from potstill.recipe.model import Recipe
from potstill.stages import StepSpec
from potstill.stages import steps as step_kinds
from potstill.stages._controls import objectives_of
from potstill.stages.size import SizeStage

CONTROL = "control"
PARTS = ("prune", "distill", "quantize")
"""What an arm may join, in the order in which it is done."""
ARMS = ("prune", "quantize", "distill", "prune+distill", "distill+quantize", "prune+distill+quantize")
BUDGETS = ("weight_bytes", "macs", "latency_ms")
"""What all arms may be bounded by, one of them."""
Sized = Callable[[str, SizeStage], dict[str, Any]]
"""What the node is called, and how a size is measured -> what the stage said of its work."""
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
    """Most MACs of one sample."""
    latency_ms: float | None = Field(default=None, gt=0)
    """Most milliseconds of one sample in the artifact's own runtime on this machine: sizes are chosen by what untrained models take, timed
    one after another beside the recipe's student, and every arm is timed again when all are trained."""

    def names(self) -> tuple[str, ...]:
        """Return the arms in order, the control first, each as its parts are done.

        Raises:
            PotstillError: a part that there is not, or several budgets.
        """
        given = [f"--{name.replace('_', '-')}" for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise PotstillError(
                f"{', '.join(given)}: one of them must be the budget; got {len(given)}. Leave the others out."
            )
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


def arms_of(recipe: Recipe, spec: CompareSpec, shape: DataShape, sized: Sized | None = None) -> list[Arm]:
    """Return the recipe of each arm.

    The distill, prune and quantize steps are the recipe's own where it has them, so that an arm without a part leaves that step
    out; a part that the recipe lacks has its defaults. Every arm is trained as the recipe's distill step says.

    Args:
        recipe: with a distill step.
        spec: arms, and a budget that is said.
        shape: of the data.
        sized: measures sizes; needed where the budget is a latency.

    Raises:
        PotstillError: an arm that this recipe cannot have, or a budget that it cannot have.
        RecipeError: what arms would be does not work; says of each arm why.
    """
    steps = _Steps(recipe)
    chosen = _Sizes(recipe, spec, shape, steps, sized)
    out: list[Arm] = []
    faults: list[str] = []
    for name in spec.names():
        parts = () if name == CONTROL else tuple(name.split("+"))
        bits = steps.quantize("distill" in parts) if "quantize" in parts else None
        if "prune" in parts or parts == ("quantize",):
            student = _bare(steps.teacher(name))
            done = [_step("inherit")]
            if "prune" in parts:
                done += [steps.prune(**chosen.left(name, student, bits)), steps.distill("distill" in parts)]
        else:
            student, done = chosen.student(name, bits), [steps.distill("distill" in parts)]
        done += [] if bits is None else [bits]
        arm = recipe.model_copy(
            update={"student": student, "steps": tuple(done), "controls": (), "export": (), "robustness": None}
        )
        try:
            check(arm)
        except RecipeError as err:
            faults += [
                f"--arms {name}: {fault.removeprefix('recipe:1:1 ')} Or leave this arm out." for fault in err.faults
            ]
        out.append(Arm(name, arm))
    if faults:
        raise RecipeError(faults)
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

    def prune(self, **target: Any) -> StepSpec:
        """Return the recipe's own cut with another target, a ratio or a budget."""
        own = self._first.get("prune")
        kept = {} if own is None else {k: v for k, v in dict(own).items() if k not in ("kind", "ratio", "budget")}
        return _step("prune", **kept, **target)

    def quantize(self, taught: bool) -> StepSpec:
        """Return the recipe's own rounding; an arm without a teacher trains with it, where it does, on the truth alone."""
        step = self._first.get("quantize") or _step("quantize", scheme="int8_static_per_channel")
        if taught or not step.terms():
            return step
        return step.model_copy(update={"objectives": objectives_of("hard-label", self._recipe.task.output)})


def budgeted(recipe: Recipe, spec: CompareSpec, shape: DataShape) -> CompareSpec:
    """Return `spec` with its budget said: where it says none, what the recipe's student takes in float32."""
    from potstill.models.tools.build import new_model

    if any(getattr(spec, name) is not None for name in BUDGETS):
        return spec
    module = new_model(_bare(recipe.student), shape.io, shape.stats).module
    return spec.model_copy(update={"weight_bytes": 4 * sum(p.numel() for p in module.parameters())})


def _step(kind: str, **fields: Any) -> StepSpec:
    found: StepSpec = step_kinds[kind](kind=kind, **fields)
    return found


def _bare(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"weights": None, "backbone": None})


class _Sizes:
    """How large a model may be."""

    def __init__(self, recipe: Recipe, spec: CompareSpec, shape: DataShape, steps: _Steps, sized: Sized | None) -> None:
        self._recipe, self._spec, self._shape, self._steps, self._sized = recipe, spec, shape, steps, sized
        self._found: dict[bool, ModelSpec] = {}
        if spec.latency_ms is not None and recipe.task.output == "tokens":
            raise PotstillError(
                "--latency-ms: must be of a model that answers at once; got one that writes. How long an untrained one writes says nothing of a "
                "trained one. Give --weight-bytes or --macs."
            )

    def student(self, arm: str, bits: StepSpec | None) -> ModelSpec:
        """Return the recipe's student, as wide as the budget allows."""
        own, shape = self._recipe.student, self._shape
        if self._spec.latency_ms is not None:
            return own.model_copy(update=self._measured(arm, own, bits)["numbers"])
        from potstill.models.tools.scaled import widest

        if (bits is None) not in self._found:
            self._found[bits is None] = widest(own, shape.io, shape.stats, self._fits(1 if bits else 4))
        return self._found[bits is None]

    def left(self, arm: str, model: ModelSpec, bits: StepSpec | None) -> dict[str, Any]:
        """Return the target of the cut of a model: the budget, or a ratio whose latency keeps to it."""
        limit, macs, latency = self._spec.weight_bytes, self._spec.macs, self._spec.latency_ms
        if latency is not None:
            # Without a trained model's gradient, squares stand for taylor; and nothing of a run can be timed on the host but this.
            cut = dict(self._steps.prune(budget={"device": HOST, "latency_ms": latency}))
            cut["importance"] = "l2" if cut["importance"] == "taylor" else cut["importance"]
            settings = PruneSettings(**{name: cut[name] for name in PruneSettings.model_fields})
            return {"ratio": self._measured(arm, model, bits, settings)["ratio"]}
        return {"budget": {"params": limit // (1 if bits else 4)} if limit is not None else {"macs": macs}}

    def _measured(
        self, arm: str, model: ModelSpec, bits: StepSpec | None, cut: PruneSettings | None = None
    ) -> dict[str, Any]:
        assert self._sized is not None and self._spec.latency_ms is not None
        verify, recipe = self._recipe.verify, self._recipe
        stage = SizeStage(
            model=_bare(model), reference=_bare(recipe.student), latency_ms=self._spec.latency_ms, cut=cut,
            scheme=getattr(bits, "scheme", None), float_layers=getattr(bits, "float_layers", ()), exporter=recipe.export[0],
            threads=verify.threads, blocks=verify.blocks, machine=machine(), seed=recipe.seed,
        )  # fmt: skip
        what = [model.kind, *(["cut"] if cut else []), *([stage.scheme] if stage.scheme else [])]
        try:
            found: dict[str, Any] = self._sized(f"size/{'-'.join(what)}", stage)["chosen"]
        except BudgetError as err:
            raise BudgetError(f"--arms {arm}: {err} Give another budget, or leave this arm out.") from err
        return found

    def _fits(self, size: int) -> Callable[[Any], bool]:
        from potstill.models.tools.profile import profile

        limit, macs = self._spec.weight_bytes, self._spec.macs

        def fits(new: Any) -> bool:
            cost = profile(new.module, new.io)
            return (limit is None or cost.params * size <= limit) and (macs is None or cost.macs <= macs)

        return fits
