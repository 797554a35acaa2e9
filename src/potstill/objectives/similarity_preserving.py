"""Similarity-preserving distillation: which rows of a batch are alike. Shapes: B rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.objectives._base import registry
from potstill.objectives._features import RelationSpec, same_rows, unit
from potstill.schedules import Scheduled

if TYPE_CHECKING:
    from torch import Tensor


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of row-normalised similarity matrices, as one value per example: the mean is the batch loss.

    Args:
        student: [B, ...] float, any features; each row is flattened.
        teacher: [B, ...] float, of other features if need be; receives no gradient.

    Returns:
        [B], dimensionless, in [0, 4 / B]: row i's mean over j of (Gs - Gt)². Their mean is the paper's 1 / B² times the
        squared Frobenius norm. 0 for a batch of one, whose only similarity is with itself.

    Raises:
        ShapeError: the rows are not the same.

    Reference:
        Tung and Mori 2019, arXiv:1907.09682, eq. 1 to 4. Departs: no.
    """
    same_rows("similarity_preserving", student, teacher)
    ours, theirs = (unit(rows @ rows.T) for rows in (student.flatten(1), teacher.detach().flatten(1)))
    return (ours - theirs).square().mean(dim=1)


@registry.register
class SimilarityPreservingSpec(RelationSpec):
    """Difference of the similarities between rows of a batch; the paper's weight."""

    reference: ClassVar[str] = "Tung and Mori 2019, arXiv:1907.09682"
    kind: Literal["similarity-preserving"] = "similarity-preserving"
    weight: Scheduled = Field(default=3000.0)
    """Multiplier, >= 0; the paper's γ on CIFAR-10 is 3,000."""

    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_preserving(student, teacher)
