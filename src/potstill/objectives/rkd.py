"""Relational knowledge distillation: distances and angles between rows of a batch. Shapes: B rows, D width."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from potstill.objectives._base import registry
from potstill.objectives._features import NORM_FLOOR, RelationSpec, pooled, same_rows, unit

if TYPE_CHECKING:
    from torch import Tensor


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between distances of pairs of rows, as one value per example: the mean is the batch loss.

    Args:
        student: [B, ...] float; averaged over positions.
        teacher: likewise, of another width if need be; receives no gradient.

    Returns:
        [B], dimensionless, >= 0: row i's mean over all j, itself included, of the Huber loss (δ = 1) between distances,
        each model's divided by their mean over pairs of two rows. 0 for a batch of one; also for two rows, whose only
        distance is 1 by that division.

    Raises:
        ShapeError: the rows are not the same.

    Reference:
        Park et al. 2019, arXiv:1904.05068, eq. 5 to 8. Departs: the sum over pairs is a mean over B², as in the authors'
        code.
    """
    from torch.nn import functional as F  # noqa: N812

    same_rows("rkd_distance", student, teacher)
    ours, theirs = (_distances(pooled(f)) for f in (student, teacher.detach()))
    return F.smooth_l1_loss(ours, theirs, reduction="none").mean(dim=1)


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between cosines of angles of triplets of rows, as one value per example: the mean is the batch loss.

    Takes 4 B³ bytes for each model, and as much again for the gradient.

    Args:
        student: [B, ...] float; averaged over positions.
        teacher: likewise, of another width if need be; receives no gradient.

    Returns:
        [B], dimensionless, in [0, 1.5]: row j's mean over all i and k of the Huber loss (δ = 1) between the cosines of the
        angle at j between i and k; 0 where i or k is j itself. 0 for a batch of one or two.

    Raises:
        ShapeError: the rows are not the same.

    Reference:
        Park et al. 2019, arXiv:1904.05068, eq. 9 to 11. Departs: the sum over triplets is a mean over B³, as in the
        authors' code.
    """
    from torch.nn import functional as F  # noqa: N812

    same_rows("rkd_angle", student, teacher)
    ours, theirs = (_cosines(pooled(f)) for f in (student, teacher.detach()))
    return F.smooth_l1_loss(ours, theirs, reduction="none").mean(dim=(1, 2))


def _distances(rows_BD: Tensor) -> Tensor:
    """Return [B, B], in units of their mean over pairs of two rows; 0 where two rows are equal, without gradient."""
    square = (rows_BD[:, None] - rows_BD[None]).square().sum(dim=2)
    apart = square > NORM_FLOOR**2
    distances = square.where(apart, square.new_ones(())).sqrt().where(apart, square.new_zeros(()))
    return distances / (distances.sum() / apart.sum().clamp(min=1)).clamp(min=NORM_FLOOR)


def _cosines(rows_BD: Tensor) -> Tensor:
    """Return [B, B, B]: at each row j, the cosine between the ways to i and to k."""
    ways = unit(rows_BD[None] - rows_BD[:, None])
    return ways @ ways.transpose(1, 2)


@registry.register
class RkdSpec(RelationSpec):
    """Distances and angles between rows of a batch; the paper's weights of the two. Memory grows with the batch's cube."""

    reference: ClassVar[str] = "Park et al. 2019, arXiv:1904.05068"
    kind: Literal["rkd"] = "rkd"
    distance: float = Field(default=25.0, ge=0)
    """Multiplier of the distances' part, dimensionless."""
    angle: float = Field(default=50.0, ge=0)
    """Multiplier of the angles' part, dimensionless; 0 leaves it out, and its memory."""

    @model_validator(mode="after")
    def _moves(self) -> RkdSpec:
        if self.distance == self.angle == 0:
            raise ValueError("distance and angle must not both be 0: nothing would be compared")
        return self

    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        parts = []
        if self.distance:
            parts.append(self.distance * rkd_distance(student, teacher))
        if self.angle:
            parts.append(self.angle * rkd_angle(student, teacher))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]
