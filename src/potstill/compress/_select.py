"""Which channels go: how much each counts, and how many of each bundle are left. Loads torch. Shapes: N channels, U units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from potstill.compress._layers import tensors
from potstill.compress._settings import Importance, Scope
from potstill.compress._trace import Bundle, Member
from potstill.core import rng

Scores = NDArray[np.float64]


def scores(
    module: nn.Module, bundle: Bundle, importance: Importance, seed: int, gradients: Mapping[str, Tensor]
) -> Scores | None:
    """Return [U], how much each unit of a bundle counts; None where this importance has nothing to rank them by.

    Args:
        module: before the cut.
        bundle: of it.
        importance: as PruneSettings says.
        seed: of chance.
        gradients: of the loss, by the parameter's name; read by taylor.
    """
    if importance == "random":
        draws = np.random.default_rng(rng.seed_of(seed, f"prune {bundle.name}")).random(bundle.num)
        return _units(draws, bundle)
    found = np.zeros(bundle.num)
    ranked = False
    for member in bundle.members:
        for values in _values(module, member, importance, gradients):
            np.add.at(found, member.channels, values[member.places])
            ranked = True
    if not ranked:
        return None
    units = _units(found, bundle)
    return np.square(units) if importance == "taylor" else units


def _units(of_channels: Scores, bundle: Bundle) -> Scores:
    out: Scores = of_channels.reshape(bundle.units, bundle.block).sum(axis=1)
    return out


def _values(
    module: nn.Module, member: Member, importance: Importance, gradients: Mapping[str, Tensor]
) -> list[NDArray[np.float64]]:
    """Return, for each tensor of a member, what its places count for."""
    if member.side in ("before", "after"):
        return []
    if member.side.startswith("dim"):
        owner, _, name = member.path.rpartition(".")
        listed = [(name, int(member.side.removeprefix("dim")), 1)]
    else:
        owner, part = member.path, module.get_submodule(member.path)
        if importance == "bn-scale":
            scale = part.weight if isinstance(part, _BatchNorm) else None
            return [] if scale is None else [scale.detach().abs().double().numpy()]
        listed = tensors(part, member.side)
    if importance == "bn-scale":
        return []
    out = []
    for name, along, times in listed:
        tensor = getattr(module.get_submodule(owner), name)
        if isinstance(tensor, nn.Parameter):
            out.append(_summed(_counted(tensor, f"{owner}.{name}".lstrip("."), importance, gradients), along, times))
    return out


def _counted(weight: Tensor, name: str, importance: Importance, gradients: Mapping[str, Tensor]) -> Tensor:
    weight = weight.detach().double()
    if importance == "taylor":
        return weight * gradients[name].double() if name in gradients else torch.zeros_like(weight)
    return weight.abs() if importance == "l1" else weight.square()


def _summed(tensor: Tensor, along: int, times: int) -> NDArray[np.float64]:
    moved = tensor.movedim(along, 0)
    out: NDArray[np.float64] = moved.reshape(times, moved.shape[0] // times, -1).sum(dim=(0, 2)).numpy()
    return out


def step_of(bundle: Bundle, round_to: int) -> int:
    """Return how many units it takes for a number of channels that is a multiple of `round_to`."""
    return round_to // math.gcd(round_to, bundle.block)


def nearest_width(units: int, wanted: float, step: int) -> int:
    """Return the multiple of `step` nearest to `wanted`, at least one of them and at most `units`, which counts as one; of two as near,
    the larger."""
    if units <= step:
        return units
    allowed = [*range(step, units, step), units]
    return min(allowed, key=lambda n: (abs(n - wanted), -n), default=units)


def left(
    bundles: Sequence[Bundle], ranked: Sequence[Scores], first: Sequence[int], ratio: float, scope: Scope, round_to: int
) -> list[int]:
    """Return how many units of each bundle are left; never more at a larger ratio.

    Args:
        bundles: that can be cut.
        ranked: the scores of each.
        first: units of each before anything was ever cut.
        ratio: of all that there were then; 1 leaves the least.
        scope: as PruneSettings says.
        round_to: likewise.
    """
    if scope == "per-layer":
        wanted = [num * (1 - ratio) for num in first]
    else:
        wanted = _wanted_of_all(bundles, ranked, first, ratio)
    return [
        min(bundle.units, nearest_width(bundle.units, num, step_of(bundle, round_to)))
        for bundle, num in zip(bundles, wanted, strict=True)
    ]


def _wanted_of_all(
    bundles: Sequence[Bundle], ranked: Sequence[Scores], first: Sequence[int], ratio: float
) -> list[float]:
    """Return how many units of each bundle are among the best of all, channels counted."""
    total = sum(num * b.block for num, b in zip(first, bundles, strict=True))
    gone = total - sum(b.num for b in bundles)
    every = np.concatenate([s / max(float(s.mean()), 1e-300) for s in ranked])
    owner = np.concatenate([np.full(b.units, i) for i, b in enumerate(bundles)])
    block = np.concatenate([np.full(b.units, b.block) for b in bundles])
    order = np.argsort(every, kind="stable")
    cut = np.cumsum(block[order]) <= ratio * total - gone
    counts = np.bincount(owner[order[cut]], minlength=len(bundles))
    return [float(b.units - n) for b, n in zip(bundles, counts, strict=True)]


def gone(bundle: Bundle, score: Scores, num_left: int) -> dict[tuple[str, str], set[int]]:
    """Return (path, side) -> places that go where the `num_left` units that count most are left; of equal ones, the first."""
    order = np.argsort(-score, kind="stable")
    units = np.zeros(bundle.units, dtype=bool)
    units[order[num_left:]] = True
    channels = np.repeat(units, bundle.block)
    return {(m.path, m.side): set(m.places[channels[m.channels]].tolist()) for m in bundle.members}


def merged(parts: Sequence[Mapping[tuple[str, str], set[int]]]) -> dict[tuple[str, str], set[int]]:
    """Return the union, without sides of which nothing goes."""
    out: dict[tuple[str, str], set[int]] = {}
    for part in parts:
        for key, places in part.items():
            out.setdefault(key, set()).update(places)
    return {key: places for key, places in out.items() if places}


def conflicts(bundles: Sequence[Bundle]) -> dict[int, str]:
    """Return the bundles (by number) that claim a place of another -> that one's name: these cannot be cut one without the other."""
    owner: dict[tuple[str, str, Any], int] = {}
    out: dict[int, str] = {}
    for i, bundle in enumerate(bundles):
        for member in bundle.members:
            for place in member.places.tolist():
                other = owner.setdefault((member.path, member.side, place), i)
                if other != i:
                    out[i], out[other] = bundles[other].name, bundle.name
    return out
