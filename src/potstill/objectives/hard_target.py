"""The true values as targets. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import StoreError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._values import same_values

if TYPE_CHECKING:
    from torch import Tensor

Error = Literal["squared", "absolute", "huber"]


def hard_target(student_BHV: Tensor, targets_BHV: Tensor, error: Error = "squared", delta: float = 1.0) -> Tensor:
    """Error of the student's values, one value per example: the mean over those that are known.

    Args:
        student_BHV: [B, H, V] float.
        targets_BHV: the truth, the same shape, NaN where unknown.
        error: "squared", "absolute", or "huber": half the square of a difference up to delta, straight beyond.
        delta: in (0, inf), units of the values; read by "huber" alone.

    Returns:
        [B], squared units of the values ("absolute": units of the values), >= 0; 0 where a row has no known value.

    Raises:
        ShapeError: shapes differ.
        ValueError: delta is out of bounds, or there is no such error.

    Reference:
        Huber 1964, doi:10.1214/aoms/1177703732. Departs: no.
    """
    import torch

    same_values("hard_target", student_BHV, targets_BHV)
    if error not in ("squared", "absolute", "huber"):
        raise ValueError(f"hard_target: error must be squared, absolute or huber; got error={error!r}.")
    if not 0 < delta < math.inf:
        raise ValueError(f"hard_target: delta must be in (0, inf); got delta={delta}.")
    known = torch.isfinite(targets_BHV)
    rest = student_BHV - torch.where(known, targets_BHV, student_BHV.detach())  # no NaN may reach a gradient
    far = rest.abs()
    if error == "squared":
        loss = rest.square()
    elif error == "absolute":
        loss = far
    else:
        loss = torch.where(far <= delta, 0.5 * rest.square(), delta * (far - 0.5 * delta))
    loss = torch.where(known, loss, torch.zeros_like(loss))
    return loss.sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)


@registry.register
class HardTargetSpec(ObjectiveSpec):
    """Squared, absolute or Huber error to the true values; rows without any carry no such term."""

    reference: ClassVar[str] = "Huber 1964, doi:10.1214/aoms/1177703732"
    teaches: ClassVar[tuple[TaskOutput, ...]] = ("values",)
    kind: Literal["hard-target"] = "hard-target"
    error: Error = "squared"
    """Squared, absolute, or Huber's: half the square up to `delta`, straight beyond."""
    delta: float = Field(default=1.0, gt=0)
    """Difference at which Huber's error becomes straight, in units of the values; unused by the others."""

    def needs(self) -> Needs:
        return Needs(labels=True)

    def loss(self, x: LossInputs) -> Tensor:
        return hard_target(x.values_BHV, self._targets(x), self.error, self.delta)

    def mask(self, x: LossInputs) -> Tensor:
        known: Tensor = self._targets(x).isfinite().flatten(1).any(dim=1)
        return known.to(x.values_BHV.dtype)

    def _targets(self, x: LossInputs) -> Tensor:
        if x.targets_BHV is None:
            raise StoreError(
                f"{self.kind}: needs the true values; this data has none. Use a source with targets: forecast."
            )
        return x.targets_BHV
