"""The teacher's values as targets, where it can be trusted. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.objectives._base import LossInputs, Needs, registry
from potstill.objectives._values import ValueSpec, same_values

if TYPE_CHECKING:
    from torch import Tensor


def soft_target_regression(
    student_BHV: Tensor, teacher_BHV: Tensor, targets_BHV: Tensor | None = None, delta: float = 1.0, reject: float = 3.0
) -> Tensor:
    """Huber loss between the student's and the teacher's values, one value per example.

    Where the teacher is further than `reject` from the truth, the truth takes its place.

    Args:
        student_BHV: [B, H, V] float.
        teacher_BHV: the same shape; receives no gradient.
        targets_BHV: the truth, the same shape, NaN where unknown; None where all of it is.
        delta: in (0, inf), units of the values: half the square of a difference up to it, straight beyond.
        reject: in (0, inf], units of the values; inf trusts the teacher everywhere.

    Returns:
        [B], squared units of the values, >= 0: the mean over horizon and variables.

    Raises:
        ShapeError: shapes differ.
        ValueError: delta or reject is out of bounds.

    Reference:
        Huber 1964, doi:10.1214/aoms/1177703732; after the idea of Takamoto et al. 2020, arXiv:2002.12597, where a teacher far
        from the label marks an outlier. Departs: the paper holds the labels for noisy and rejects those; here the truth is
        held for right, and an outlier of the teacher's is replaced by it, value by value.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812

    same_values("soft_target_regression", student_BHV, teacher_BHV)
    if not 0 < delta < math.inf or not reject > 0:
        raise ValueError(
            f"soft_target_regression: delta must be in (0, inf) and reject in (0, inf]; got delta={delta}, reject={reject}."
        )
    wanted = teacher_BHV.detach()
    if targets_BHV is not None:
        same_values("soft_target_regression", student_BHV, targets_BHV)
        # A comparison with NaN is false: what is unknown rejects nothing.
        wanted = torch.where((wanted - targets_BHV).abs() > reject, targets_BHV, wanted)
    return F.huber_loss(student_BHV, wanted, reduction="none", delta=delta).mean(dim=(1, 2))


@registry.register
class SoftTargetRegressionSpec(ValueSpec):
    """Huber loss to the teacher's values; where these are far from the truth, to the truth."""

    reference: ClassVar[str] = "Takamoto et al. 2020, arXiv:2002.12597; Huber 1964, doi:10.1214/aoms/1177703732"
    kind: Literal["soft-target-regression"] = "soft-target-regression"
    delta: float = Field(default=1.0, gt=0)
    """Difference up to which the loss is half its square and beyond which it is straight, in units of the values."""
    reject: float = Field(default=3.0, gt=0)
    """Difference between teacher and truth above which the truth is the target instead, in units of the values: the default
    means three standard deviations of data that were standardised."""

    def needs(self) -> Needs:
        return Needs(labels=True, labels_optional=True, teacher="values")

    def loss(self, x: LossInputs) -> Tensor:
        return soft_target_regression(x.values_BHV, self.of_teacher(x), x.targets_BHV, self.delta, self.reject)
