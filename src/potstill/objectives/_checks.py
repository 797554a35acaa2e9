"""What several losses share: checks of what they are given, and the class that stands for a row. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from potstill.core.errors import ShapeError
from potstill.objectives._base import LossInputs
from potstill.schedules import Scheduled, lowest

if TYPE_CHECKING:
    from torch import Tensor


def same_shape(where: str, student_BK: Tensor, teacher_BK: Tensor) -> None:
    """Raise ShapeError, naming both shapes, unless both are [B, K] and alike."""
    if student_BK.ndim != 2 or student_BK.shape != teacher_BK.shape:
        raise ShapeError(
            f"{where}: student and teacher must give logits [B, K] of the same classes; got "
            f"{list(student_BK.shape)} and {list(teacher_BK.shape)}. Check the teacher's class order and count."
        )


def shaped(where: str, teacher: Tensor, student: Tensor) -> Tensor:
    """Return what a store gave of the teacher, flat or not, in the student's shape.

    Raises:
        ShapeError: there are not as many numbers.
    """
    if len(teacher) != len(student) or teacher.numel() != student.numel():
        raise ShapeError(
            f"{where}: the teacher must give as many numbers a row as the student; got {list(teacher.shape)} of the teacher "
            f"and {list(student.shape)} of the student. Check that both are of one task."
        )
    return teacher.reshape(student.shape)


def _above_zero(value: Scheduled) -> Scheduled:
    if not lowest(value) > 0:
        raise ValueError(f"must be > 0 throughout; got {lowest(value):g}. Logits are divided by it")
    return value


Temperature = Annotated[Scheduled, AfterValidator(_above_zero)]
"""T > 0, dimensionless; a number or a schedule."""


def kl_divergence(log_p: Tensor, log_q: Tensor, dim: int) -> Tensor:
    """Return KL(p || q) in nats, summed over one dimension, of logarithms of two distributions over it."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=dim)


def positive_temperature(where: str, temperature: float) -> None:
    """Raise ValueError unless 0 < T < inf."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"{where}: temperature must be in (0, inf); got temperature={temperature}.")


def weights_in_bounds(where: str, **weights: float) -> None:
    """Raise ValueError unless each is in [0, inf) and one is above 0."""
    if not all(0 <= value < math.inf for value in weights.values()) or not any(weights.values()):
        raise ValueError(
            f"{where}: {' and '.join(weights)} must be in [0, inf) and not all 0; got "
            f"{', '.join(f'{name}={value}' for name, value in weights.items())}."
        )


def enough_classes(where: str, num_classes: int, why: str | None) -> None:
    """Raise ShapeError unless `why`, what speaks against so many classes, is None."""
    if why is not None:
        raise ShapeError(f"{where}: must have three classes or more; got {num_classes}. {why}.")


def without_others(num_classes: int, weight: str) -> str | None:
    """Return why a loss over the classes beside the target, whose weight has this name, teaches nothing; None where it does."""
    if num_classes > 2:
        return None
    return f"One class besides the target has all of what is left: `{weight}` would do nothing. Use soft-label"


def labels_or_argmax(where: str, labels_B: Tensor, teacher_BK: Tensor) -> Tensor:
    """Return [B] int64 in 0..K-1: the label, or, where a row has none (-1), the teacher's argmax.

    Raises:
        ShapeError: the labels are not [B].
    """
    import torch

    if labels_B.shape != teacher_BK.shape[:1]:
        raise ShapeError(
            f"{where}: labels must be [B], one a row of the logits; got {list(labels_B.shape)} for "
            f"{list(teacher_BK.shape)}."
        )
    return torch.where(labels_B >= 0, labels_B, teacher_BK.argmax(dim=1))


def over_labels(x: LossInputs, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return [B], the loss for the labels; in a mixed batch, the losses for both pictures' labels, weighted by their shares.

    A mixed row that lacks either label is given as one without (-1).

    Args:
        x: the batch.
        loss: labels [B] -> [B].
    """
    import torch

    if x.mix_B is None or x.partner_labels_B is None:
        return loss(x.labels_B)
    known = (x.labels_B >= 0) & (x.partner_labels_B >= 0)
    own, partner = (torch.where(known, labels, -1) for labels in (x.labels_B, x.partner_labels_B))
    return x.mix_B * loss(own) + (1 - x.mix_B) * loss(partner)


def all_but(values_BK: Tensor, classes_B: Tensor) -> Tensor:
    """Return [B, K-1]: each row without one of its columns, the rest in order."""
    import torch

    column = torch.arange(values_BK.shape[1] - 1, device=values_BK.device)
    return values_BK.gather(1, column + (column >= classes_B[:, None]).long())
