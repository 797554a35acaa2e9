"""The widest model of a family within a limit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import ValidationError

from potstill.core.errors import PotstillError
from potstill.core.samples import DataStats
from potstill.models._base import ModelSpec
from potstill.models._io import ModelIO
from potstill.models.tools.build import NewModel, new_model
from potstill.models.tools.profile import profile

_WIDTHS = ("width", "dim", "hidden")
"""Fields of a family that are scaled together."""
_WIDEST = 64.0


def scaled(spec: ModelSpec, factor: float) -> ModelSpec | None:
    """Return the family with its widths times `factor`, rounded down to what its heads divide; None where it has no such width,
    or a number out of its bounds.

    Args:
        spec: of the zoo.
        factor: above 0.
    """
    heads = getattr(spec, "heads", 1)
    numbers = {}
    for name in _WIDTHS:
        value = getattr(spec, name, None)
        if isinstance(value, float):
            numbers[name] = value * factor
        elif isinstance(value, int) and value > 0:
            numbers[name] = max(1, int(value * factor) // heads) * heads
    try:
        return type(spec).model_validate({**dict(spec), **numbers}) if numbers else None
    except ValidationError:
        return None


def widest(
    spec: ModelSpec, io: ModelIO, stats: DataStats, fits: Callable[[NewModel], bool], precision: float = 1e-3
) -> ModelSpec:
    """Return the widest model of the family that fits, `spec` itself where that is the one.

    Args:
        spec: of the zoo; one that cannot be scaled is returned as it is if it fits.
        io: of the data.
        stats: of the data.
        fits: judges an untrained model, by whatever measure, each at most once; what fits still fits when it is narrower.
        precision: of the factor by which widths are multiplied.

    Raises:
        PotstillError: not even the narrowest fits; says its cost.
    """

    judged: dict[str, bool] = {}

    def new(model: ModelSpec) -> NewModel:
        with torch.random.fork_rng(devices=[]):
            return new_model(model.model_copy(update={"weights": None, "backbone": None}), io, stats)

    def keeps(model: ModelSpec) -> bool:
        key = str({name: getattr(model, name, None) for name in _WIDTHS})
        if key not in judged:
            judged[key] = fits(new(model))
        return judged[key]

    best = spec if keeps(spec) else None
    low = 1.0 if best is not None else 0.0
    high = _WIDEST if best is not None else 1.0
    for _ in range(24):
        factor = (low + high) / 2 if high <= 2 or low == 0 else (low * high) ** 0.5
        model = scaled(spec, factor)
        if model is not None and keeps(model):
            best, low = model, factor
        else:
            high = factor
        if high - low < precision * high:
            break
    if best is None:
        least = new(scaled(spec, 1e-9) or spec)
        found = profile(least.module, least.io)
        raise PotstillError(
            f"student: a model of kind {spec.kind!r} must fit the budget; the narrowest has {found.params:,} parameters and "
            f"{found.macs:,} MACs. Raise the budget, or choose a shallower student."
        )
    return best
