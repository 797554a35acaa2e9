"""Attention transfer: where a network looks. Shapes: B rows, C channels, H, W pixels, P positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.objectives._base import registry
from potstill.objectives._features import FeatureSpec, channels_last, unit
from potstill.schedules import Scheduled
from potstill.taps import Joins

if TYPE_CHECKING:
    from torch import Tensor


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of normalised attention maps, one value per example.

    A map is the sum of squares over channels at each position; over positions it is brought to L2 norm 1 (zeros
    where it is below 1e-8). The widths may differ, the positions may not.

    Args:
        student: [B, C, H, W] or [B, L, D] float.
        teacher: the same positions; receives no gradient.

    Returns:
        [B], dimensionless, in [0, 2 / P].

    Raises:
        ShapeError: rows or positions differ, or there are none.

    Reference:
        Zagoruyko and Komodakis 2017, arXiv:1612.03928, eq. 2 with the maps of F²sum. Departs: squared and averaged over
        the map, without the half, as the authors' code has it; eq. 2 has the norm itself, whose gradient does not exist
        where the maps agree.
    """
    if student.ndim < 3 or teacher.ndim != student.ndim or _positions(student) != _positions(teacher):
        raise ShapeError(
            f"attention_transfer: needs features [B, C, H, W] or [B, L, D] of the same positions; got "
            f"{list(student.shape)} and {list(teacher.shape)}. An adapter joins them: see potstill taps RECIPE."
        )
    ours, theirs = (unit(channels_last(f).square().sum(dim=2)) for f in (student, teacher.detach()))
    return (ours - theirs).square().mean(dim=1)


def _positions(features: Tensor) -> list[int]:
    """Return B and the positions' sizes."""
    return [features.shape[0], *(features.shape[2:] if features.ndim == 4 else features.shape[1:2])]


@registry.register
class AttentionTransferSpec(FeatureSpec):
    """Difference of attention maps (sums of squares over channels, normalised); no adapter but a change of size."""

    reference: ClassVar[str] = "Zagoruyko and Komodakis 2017, arXiv:1612.03928"
    joins: ClassVar[Joins] = "space"
    kind: Literal["attention-transfer"] = "attention-transfer"
    weight: Scheduled = Field(default=1000.0)
    """Multiplier, >= 0; the paper's β is 10³ over the elements of a map, and the mean over them is in the loss."""

    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_transfer(student, teacher)
