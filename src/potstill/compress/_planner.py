"""Finds what can be cut, refuses the rest with a reason, and says what a cut would leave. Loads torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from potstill.compress._layers import ROOTS, cut, refusal, tensors, width, zero
from potstill.compress._select import Scores, conflicts, gone, left, merged, scores, step_of
from potstill.compress._settings import PruneBudget, PruneSettings
from potstill.compress._trace import Bundle, Member, trace
from potstill.core.errors import BudgetError, DeviceError, PotstillError, nearest
from potstill.devices.lines import Verdict
from potstill.models._blocks import PadShortcut
from potstill.models.tools.profile import macs_of

TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output, between channels set to zero and channels taken away: float
rounding in another order of summation."""
_BISECTIONS = 20
_JUDGED = 8
"""Bisections where each takes an export: to a 256th of the channels."""

Judge = Callable[[nn.Module], tuple[Verdict, str]]
"""A module that was cut -> (whether it surely fits a device's limits, unknown where a figure is; what stops it or binds, in words)."""
Gone = dict[tuple[str, str], set[int]]
"""(path, side) of a layer -> places that go."""


@dataclass(frozen=True)
class Cost:
    """What a model takes."""

    params: int
    macs: int
    """Of one sample."""
    bytes: int
    """Of the weights' file."""


@dataclass(frozen=True)
class LayerPlan:
    """One layer's outputs."""

    layer: str
    before: int
    """Channels, units or features."""
    after: int


@dataclass(frozen=True)
class PruningPlan:
    """What a cut would do, or did."""

    ratio: float
    """Pruning ratio that was asked for or found, of the model that nothing was cut from."""
    layers: list[LayerPlan]
    whole: dict[str, str]
    """Path of a layer that could not be cut -> why."""
    first: Cost
    """Of the model that nothing was cut from."""
    before: Cost
    after: Cost
    gone: Gone
    fits: str = ""
    """Of a device's budget: by what the rest fits it, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, without the places."""
        return {
            "ratio": self.ratio, "layers": [asdict(layer) for layer in self.layers], "whole": self.whole,
            "first": asdict(self.first), "before": asdict(self.before), "after": asdict(self.after), "fits": self.fits,
        }  # fmt: skip


def cost(module: nn.Module, example: tuple[Any, ...]) -> Cost:
    """Return what a module takes; MACs of the first row of the example."""
    one = tuple(x[:1] if isinstance(x, Tensor) else x for x in example)
    state = {k: v.detach().contiguous().clone() for k, v in module.state_dict().items()}
    return Cost(sum(p.numel() for p in module.parameters()), macs_of(module, one), len(save(state)))


def apply(module: nn.Module, what: Gone, do: Callable[[nn.Module, str, str, set[int]], None]) -> None:
    """Do `cut` or `zero` to each side of each layer, in place."""
    for (path, side), places in what.items():
        do(module, path, side, places)


@torch.no_grad()
def differs(zeroed: nn.Module, cut_one: nn.Module, example: tuple[Any, ...]) -> str:
    """Return how the outputs of two modules differ; empty where they are the same up to rounding."""
    ours, theirs = _outputs(cut_one, example), _outputs(zeroed, example)
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return f"the output is {list(a.shape)}, not {list(b.shape)}"
        scale = max(float(b.abs().max()), 1e-12)
        most = float((a - b).abs().max()) / scale
        if not most <= TOLERANCE:
            return f"the outputs differ by {most:.1e} of the largest"
    return ""


def _outputs(module: nn.Module, example: tuple[Any, ...]) -> list[Tensor]:
    from torch.utils._pytree import tree_leaves

    module.eval()
    return [t.float() for t in tree_leaves(module(*example)) if isinstance(t, Tensor)]


class Planner:
    """Finds bundles, refuses those that cannot be cut, and chooses among the others."""

    def __init__(
        self, module: nn.Module, example: tuple[Any, ...], settings: PruneSettings, first: nn.Module,
        gradients: Callable[[nn.Module], Mapping[str, Tensor]] | None, seed: int, where: str, judge: Judge | None = None,
    ) -> None:  # fmt: skip
        self.module, self.example, self.settings, self.where = module, example, settings, where
        self.first, self.seed, self.judge = first, seed, judge
        self._check_names()
        self.owners: dict[int, list[str]] = {}
        for name, weight in module.named_parameters(remove_duplicate=False):
            self.owners.setdefault(id(weight), []).append(name)
        traced = trace(module, lambda m: m(*example), where)
        self.bundles, self.whole = traced.bundles, traced.whole
        self._check_protected()
        self._refuse()
        found = self._scores(gradients)
        self.able = [b for b, s in found if s is not None and not b.refused]
        self.ranked: list[Scores] = [s for b, s in found if s is not None and not b.refused]
        if not self.able:
            raise PotstillError(f"{where}: must find a layer that can be cut; got none. {self._reasons()}")
        self.units = [self._first_units(b) for b in self.able]
        self._costs: dict[tuple[int, ...], Cost] = {}
        self._verdicts: dict[tuple[int, ...], tuple[Verdict, str]] = {}

    def plan(self) -> PruningPlan:
        """Return the plan."""
        first, before = cost(self.first, self.example), self._cost([b.units for b in self.able])
        budget, ratio = self.settings.budget, self.settings.ratio
        if ratio is None:
            assert budget is not None
            ratio = self._to_cost(budget, first, before) if budget.device is None else self._to_device(budget.device)
        counts = self._left(ratio)
        after = self._cost(counts)
        if after.params >= before.params:
            raise PotstillError(
                f"{self.where}: must cut something; got ratio={ratio:.3g}, after which all {before.params:,} parameters are left "
                f"(of {first.params:,} before anything was cut). Ask for more, or lower round_to={self.settings.round_to}. "
                f"{self._reasons()}".rstrip()
            )
        on = None if budget is None else budget.device
        fits = "" if on is None else f"{on} {self._verdict(counts)[1]}"
        what, twin = self._gone(counts), self._twin(counts)
        layers = [
            LayerPlan(path, width(part, "out"), width(twin.get_submodule(path), "out"))
            for path, part in self.module.named_modules()
            if isinstance(part, (*ROOTS, nn.RNNBase))
        ]
        return PruningPlan(ratio, layers, self._whole(), first, before, after, what, fits)

    def _check_names(self) -> None:
        names = [name for name, _ in self.module.named_modules() if name]
        for name in self.settings.protect:
            if name not in names:
                raise PotstillError(
                    f"{self.where}.protect: must name modules of the model; got {name!r}. {nearest(name, names)}".rstrip()
                )

    def _check_protected(self) -> None:
        members = [m.path for b in self.bundles for m in b.members if m.side != "in"]
        for name in self.settings.protect:
            if not any(_inside(path, name) for path in members):
                makers = sorted({b.name for b in self.bundles})
                raise PotstillError(f"{self.where}.protect: must name layers that have channels of their own; got {name!r}. "
                                    f"{nearest(name, makers)}These are: {', '.join(makers[:20])}")  # fmt: skip

    def _refuse(self) -> None:
        """Write into each bundle why it cannot be cut, where it cannot."""
        for bundle in self.bundles:
            bundle.refused = bundle.refused or self._why(bundle)
        able = [b for b in self.bundles if not b.refused]
        for i, other in conflicts(able).items():
            able[
                i
            ].refused = f"it shares channels with {other!r}, which the trace finds in two ways, as after zero padding"
        able = [b for b in self.bundles if not b.refused]
        if able and self._trial(able):
            for bundle in able:
                bundle.refused = self._trial([bundle])

    def _why(self, bundle: Bundle) -> str:
        parts = [(m, self.module.get_submodule(m.path)) for m in bundle.members if not m.side.startswith("dim")]
        refused = next((f"{why} ({m.path})" for m, p in parts if (why := refusal(p, m.side))), "")
        refused = refused or next((why for m, p in parts if (why := self._shared(m, p))), "")
        if refused:
            return refused
        beyond = next((m.path for m, p in parts if m.places.max() >= width(p, m.side) > 1), None)
        if beyond is not None:
            return f"the trace gives it channels that {beyond!r} does not have, as after zero padding"
        if not any(m.side == "in" for m in bundle.members):
            return "its channels are the model's output"
        for name in self.settings.protect:
            if any(m.side != "in" and _inside(m.path, name) for m in bundle.members):
                return f"protected ({name})"
        step = step_of(bundle, self.settings.round_to)
        if bundle.units <= step:
            return f"no wider than round_to={self.settings.round_to}"
        return ""

    def _shared(self, member: Member, part: nn.Module) -> str:
        """Return why a layer whose weights are another's too is not cut: the two would part."""
        if isinstance(part, PadShortcut):
            return ""
        for name, _, _ in tensors(part, member.side):
            weight = getattr(part, name)
            others = [n for n in self.owners.get(id(weight), []) if n != f"{member.path}.{name}"]
            if others:
                return f"its weights are those of {others[0]!r} too ({member.path}.{name})"
        return ""

    def _trial(self, bundles: Sequence[Bundle]) -> str:
        """Return why bundles cannot be cut; empty where they can: to a half, and by one unit, which no fixed shape survives."""
        return self._trial_of(bundles, lambda b: max(1, b.units // 2)) or self._trial_of(bundles, lambda b: b.units - 1)

    def _trial_of(self, bundles: Sequence[Bundle], left_of: Callable[[Bundle], int]) -> str:
        rows = [np.arange(b.units, dtype=np.float64) % 3 for b in bundles]  # not the first or last ones alone
        what = merged([gone(b, s, left_of(b)) for b, s in zip(bundles, rows, strict=True)])
        zeroed, twin = copy.deepcopy(self.module), copy.deepcopy(self.module)
        try:
            apply(twin, what, cut)
            apply(zeroed, what, zero)
            found = differs(zeroed, twin, self.example)
        except Exception as err:  # whatever a module raises of widths that it does not expect
            return f"with fewer channels its model stops: {(str(err).splitlines() or [''])[0]}"
        return (
            f"its channels are moved or mixed where the trace sees none of it, as by zero padding: {found}"
            if found
            else ""
        )

    def _scores(
        self, gradients: Callable[[nn.Module], Mapping[str, Tensor]] | None
    ) -> list[tuple[Bundle, Scores | None]]:
        kind = self.settings.importance
        if kind == "taylor" and gradients is None:
            raise PotstillError(f"{self.where}.importance: taylor needs the gradient of a loss; got none. Give a loss.")
        given = gradients(self.module) if kind == "taylor" and gradients is not None else {}
        out = []
        for bundle in self.bundles:
            found = None if bundle.refused else scores(self.module, bundle, kind, self.seed, given)
            if found is None and not bundle.refused:
                bundle.refused = "it has no BatchNorm, whose scales bn-scale ranks by"
            out.append((bundle, found))
        return out

    def _first_units(self, bundle: Bundle) -> int:
        """Return how many units a bundle had before anything was cut."""
        for member in bundle.members:
            if member.side == "out":
                wide, now = (width(m.get_submodule(member.path), "out") for m in (self.first, self.module))
                return round(bundle.units * wide / now)
        return bundle.units

    def _left(self, ratio: float) -> list[int]:
        return left(self.able, self.ranked, self.units, ratio, self.settings.scope, self.settings.round_to)

    def _gone(self, counts: Sequence[int]) -> Gone:
        return merged([gone(b, s, n) for b, s, n in zip(self.able, self.ranked, counts, strict=True)])

    def _cost(self, counts: Sequence[int]) -> Cost:
        key = tuple(counts)
        if key not in self._costs:
            self._costs[key] = cost(self._twin(counts), self.example)
        return self._costs[key]

    def _verdict(self, counts: Sequence[int]) -> tuple[Verdict, str]:
        assert self.judge is not None, "who asks for a device brings what judges by it"
        key = tuple(counts)
        if key not in self._verdicts:
            self._verdicts[key] = self.judge(self._twin(counts))
        return self._verdicts[key]

    def _twin(self, counts: Sequence[int]) -> nn.Module:
        """Return a copy of the module, cut."""
        twin = copy.deepcopy(self.module)
        apply(twin, self._gone(counts), cut)
        return twin

    def _to_cost(self, budget: PruneBudget, first: Cost, before: Cost) -> float:
        """Return the smallest ratio whose cut keeps to a number of parameters, MACs or bytes."""
        name, value = budget.measure, budget.value
        whole = getattr(first, name)
        most = value * whole if value < 1 else value
        least = getattr(self._cost(self._left(1.0)), name)
        if least > most:
            raise BudgetError(
                f"{self.where}.budget.{name}: must be at least {least:,} ({least / whole:.3f} of {whole:,}), the least that can be "
                f"reached; got {value:g}. Lower round_to={self.settings.round_to}, protect less, or start from a smaller "
                f"model. {self._reasons()}".rstrip()
            )
        if getattr(before, name) <= most:
            raise BudgetError(
                f"{self.where}.budget.{name}: must be less than what there is, {getattr(before, name):,} "
                f"({getattr(before, name) / whole:.3f} of {whole:,}); got {value:g}. Nothing would be cut."
            )
        return self._smallest(lambda counts: getattr(self._cost(counts), name) <= most, _BISECTIONS)

    def _to_device(self, device: str) -> float:
        """Return the smallest ratio whose cut fits a device."""
        where = f"{self.where}.budget.device"
        whole, now = self._verdict([b.units for b in self.able])
        if whole == "fits":
            raise BudgetError(f"{where}: must be less than what there is; got {device!r}, {now}. Nothing would be cut.")
        least, why = self._verdict(self._left(1.0))
        if least == "does not fit":
            raise BudgetError(
                f"{where}: must fit once all is cut that can be; got {device!r}, {why}. Raise the limits, lower "
                f"round_to={self.settings.round_to}, protect less, or start from a smaller model. {self._reasons()}".rstrip()
            )
        # A model may be too small for what is known of a device: then the first that is not too large is known, or none is.
        enough: tuple[Verdict, ...] = ("fits",) if least == "fits" else ("fits", "unknown")
        nowhere = whole == least == "unknown"
        ratio = 0.0 if nowhere else self._smallest(lambda counts: self._verdict(counts)[0] in enough, _JUDGED)
        verdict, why = (whole, now) if nowhere else self._verdict(self._left(ratio))
        if verdict != "fits":
            raise DeviceError(
                f"{where}: must be a device of which it is known whether what is left fits it; got {device!r}, {why}. Give limits that are known "
                "there, or a budget of params, macs or bytes."
            )
        return ratio

    def _smallest(self, keeps: Callable[[Sequence[int]], bool], num: int) -> float:
        """Return the smallest ratio whose cut keeps to the budget, by bisection; that of everything does."""
        low, high = 0.0, 1.0
        for _ in range(num):
            middle = (low + high) / 2
            low, high = (low, middle) if keeps(self._left(middle)) else (middle, high)
        return high

    def _whole(self) -> dict[str, str]:
        return {**{b.name: b.refused for b in self.bundles if b.refused}, **self.whole}

    def _reasons(self) -> str:
        found = [f"{name!r}: {why}" for name, why in self._whole().items()]
        return f"Left whole: {'; '.join(found[:4])}{' ...' if len(found) > 4 else ''}." if found else ""


def _inside(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")
