"""What a cut is asked for. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from potstill.core.spec import Spec
from potstill.devices.catalogue import DeviceName, identity_of
from potstill.devices.lines import Limits

Importance = Literal["l1", "l2", "taylor", "bn-scale", "random"]
Scope = Literal["global", "per-layer"]


_MEASURES = ("params", "macs", "bytes", "device")


class PruneBudget(Limits):
    """How much of a model may be left, by exactly one measure: below 1, a share of the model that nothing was cut from; else the
    number itself. Or what it may take on a `device`, of which `latency_ms` to `energy_mj` are the limits."""

    params: float | None = Field(default=None, gt=0)
    """Parameters."""
    macs: float | None = Field(default=None, gt=0)
    """Multiply-accumulates of one sample."""
    bytes: float | None = Field(default=None, gt=0)
    """Size of the weights' file."""
    device: DeviceName | None = None
    """As `potstill devices` lists them, or a profile in YAML: what is left must fit its memory and the limits that are given beside it, as its
    verdict models them."""
    int8: bool = False
    """Of a device: judge it as it will be in 8 bits. A recipe with a quantize step in integers does so by itself."""

    @model_validator(mode="after")
    def _one(self) -> PruneBudget:
        given = [name for name in _MEASURES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"must name one of params, macs, bytes and device; got {', '.join(given) or 'none'}")
        limits = [name for name in (*Limits.model_fields, "int8") if getattr(self, name)]
        if self.device is None and limits:
            raise ValueError(f"must name the device that {limits[0]} is of; got none")
        return self

    def identity(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        on = {} if self.device is None else identity_of(self.device, digest)
        return {**super().identity(digest), **on}

    @property
    def measure(self) -> str:
        """params, macs, bytes or device."""
        return next(name for name in _MEASURES if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """The number of params, macs or bytes."""
        return float(getattr(self, self.measure))


class PruneSettings(Spec):
    """Which channels go, and how many."""

    ratio: float | None = Field(default=None, ge=0, lt=1, examples=[0.5])
    """Pruning ratio: share of the channels of the model that nothing was cut from. Exactly one of ratio and budget is given."""
    budget: PruneBudget | None = None
    """What may be left; the ratio is then found by bisection."""
    importance: Importance = "l2"
    """What makes a channel worth keeping: the sum of its weights' absolute values (l1, Li et al. 2017, arXiv:1608.08710) or squares
    (l2), the change of the loss of the hard labels that removing it makes, to first order (taylor, Molchanov et al. 2019,
    arXiv:1906.10771), the size of its BatchNorm's scales (bn-scale, Liu et al. 2017, arXiv:1708.06519), or chance (random, for comparison)."""
    scope: Scope = "global"
    """Rank the channels of all layers together, each layer's by their own mean, or cut the same share of each layer."""
    round_to: int = Field(default=8, ge=1)
    """What is left of a layer is the nearest multiple of it, at least one; a narrower layer stays whole. 8 suits the vector units
    of processors."""
    protect: tuple[str, ...] = ()
    """Paths of modules whose outputs keep their width, with all inside them; `potstill taps` lists them. The output layer always
    does."""

    @model_validator(mode="after")
    def _one_target(self) -> PruneSettings:
        if (self.ratio is None) == (self.budget is None):
            given = "neither" if self.ratio is None else "both"
            raise ValueError(f"must have exactly one of ratio and budget; got {given}")
        return self
