"""FitNets' hint: squared distance between features. Shapes: B rows, C channels, H, W pixels, P positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.objectives._base import registry
from potstill.objectives._features import FeatureSpec, channels_last, same_features, unit

if TYPE_CHECKING:
    from torch import Tensor


def feature_l2(student: Tensor, teacher: Tensor, normalize: bool = False) -> Tensor:
    """Squared distance between features, one value per example.

    Args:
        student: [B, C, H, W], [B, L, D] or [B, D] float, through the adapter.
        teacher: the same shape; receives no gradient.
        normalize: bring the channels of each position to L2 norm 1 first (zeros where it is below 1e-8).

    Returns:
        [B], >= 0: the mean over elements, in squared units of the features; with `normalize`, the sum over channels and
        mean over positions, dimensionless, in [0, 4].

    Raises:
        ShapeError: shapes differ.

    Reference:
        Romero et al. 2015, arXiv:1412.6550, eq. 3: half the squared L2 norm. Departs: the mean over elements, not half
        their sum, so that the weight means the same at each width and size; the regressor is a 1×1 convolution; and it is
        a term beside others where the paper trains the lower layers on it first.
    """
    same_features("feature_l2", student, teacher)
    ours, theirs = channels_last(student), channels_last(teacher.detach())
    if normalize:
        return (unit(ours) - unit(theirs)).square().sum(dim=2).mean(dim=1)
    return (ours - theirs).square().mean(dim=(1, 2))


@registry.register
class FeatureL2Spec(FeatureSpec):
    """Squared distance between features, brought to the teacher's shape by trainable adapters; the paper has no weight."""

    reference: ClassVar[str] = "Romero et al. 2015, arXiv:1412.6550"
    kind: Literal["feature-l2"] = "feature-l2"
    normalize: bool = False
    """Bring the channels of each position to L2 norm 1 first, in both models."""

    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return feature_l2(student, teacher, self.normalize)
