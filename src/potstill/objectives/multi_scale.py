"""TimeDistill's values at several scales of time. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.objectives._base import LossInputs, registry
from potstill.objectives._values import ValueSpec, same_values

if TYPE_CHECKING:
    from torch import Tensor


def multi_scale(student_BHV: Tensor, teacher_BHV: Tensor, scales: int = 3) -> Tensor:
    """Squared distance between values at several scales of time, one value per example.

    Each scale halves the one before: the mean of two neighbours in time; a last one without a neighbour is left out.

    Args:
        student_BHV: [B, H, V] float.
        teacher_BHV: the same shape; receives no gradient.
        scales: halvings, >= 0, with H >= 2 to that power; 0 is the squared distance alone.

    Returns:
        [B], squared units of the values, >= 0: the mean over scales, the finest included, of the mean over time and variables.

    Raises:
        ShapeError: shapes differ, or the horizon is too short.
        ValueError: scales is below 0.

    Reference:
        Ni et al. 2025 (TimeDistill), arXiv:2502.15016, the multi-scale term on predictions. Departs: neighbours are averaged,
        as in the authors' code.
    """
    from torch.nn import functional as F  # noqa: N812

    if scales < 0:
        raise ValueError(f"multi_scale: scales must be >= 0; got scales={scales}.")
    same_values("multi_scale", student_BHV, teacher_BHV, least=2**scales)
    rest_BVH = (student_BHV - teacher_BHV.detach()).transpose(1, 2)  # averaging is linear: of the difference, once
    total = rest_BVH.square().mean(dim=(1, 2))
    for _ in range(scales):
        rest_BVH = F.avg_pool1d(rest_BVH, 2)
        total = total + rest_BVH.square().mean(dim=(1, 2))
    return total / (scales + 1)


@registry.register
class MultiScaleSpec(ValueSpec):
    """Squared distance to the teacher's values at several scales of time, each half as fine as the one before."""

    reference: ClassVar[str] = "Ni et al. 2025, arXiv:2502.15016"
    kind: Literal["multi-scale"] = "multi-scale"
    scales: int = Field(default=3, ge=0)
    """Halvings of the horizon, which must have at least 2 to that power steps; the authors' three."""

    def loss(self, x: LossInputs) -> Tensor:
        return multi_scale(x.values_BHV, self.of_teacher(x), self.scales)
