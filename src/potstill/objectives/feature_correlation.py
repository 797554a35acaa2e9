"""Correlation congruence: kernels between rows of a batch. Shapes: B rows, D width."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.objectives._base import registry
from potstill.objectives._features import RelationSpec, pooled, same_rows, unit

if TYPE_CHECKING:
    from torch import Tensor


def feature_correlation(student: Tensor, teacher: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Squared difference of kernel matrices, as one value per example: the mean is the batch loss.

    The kernel is the Gaussian exp(-γ ||x - y||²) between features of L2 norm 1, by its Taylor series in their product up
    to `order`: exp(-2γ) Σ (2γ)^p / p! (x·y)^p.

    Args:
        student: [B, ...] float; averaged over positions, then brought to L2 norm 1.
        teacher: likewise, of another width if need be; receives no gradient.
        gamma: γ > 0, dimensionless.
        order: of the series, >= 1.

    Returns:
        [B], dimensionless, in [0, 4]: row i's mean over j of (Ks - Kt)². Their mean is the paper's 1 / B² times the
        squared norm. 0 for a batch of one; of two rows, one number is compared.

    Raises:
        ShapeError: the rows are not the same.
        ValueError: gamma or order is out of bounds.

    Reference:
        Peng et al. 2019, arXiv:1904.01802, eq. 5 to 9, with the Gaussian kernel, γ = 0.4 and order 2. Departs: features
        are averaged over positions first, where the paper takes the embedding before the classifier.
    """
    same_rows("feature_correlation", student, teacher)
    if not 0 < gamma < math.inf or order < 1:
        raise ValueError(f"feature_correlation: needs 0 < gamma < inf and order >= 1; got {gamma=} and {order=}.")
    ours, theirs = (_kernel(unit(pooled(f)), gamma, order) for f in (student, teacher.detach()))
    return (ours - theirs).square().mean(dim=1)


def _kernel(rows_BD: Tensor, gamma: float, order: int) -> Tensor:
    products = rows_BD @ rows_BD.T
    scale = math.exp(-2 * gamma)
    series = [products**p * (scale * (2 * gamma) ** p / math.factorial(p)) for p in range(order + 1)]
    return functools.reduce(operator.add, series)


@registry.register
class FeatureCorrelationSpec(RelationSpec):
    """Difference of Gaussian kernels between rows of a batch, by a Taylor series; the weight is for you to set."""

    reference: ClassVar[str] = "Peng et al. 2019, arXiv:1904.01802"
    kind: Literal["feature-correlation"] = "feature-correlation"
    gamma: float = Field(default=0.4, gt=0)
    """γ of the Gaussian kernel, dimensionless."""
    order: int = Field(default=2, ge=1)
    """Of the Taylor series."""

    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return feature_correlation(student, teacher, self.gamma, self.order)
