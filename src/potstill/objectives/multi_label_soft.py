"""The teacher's probability of each class by itself. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError, StoreError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry

if TYPE_CHECKING:
    from torch import Tensor


def multi_label_soft(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T² times the KL divergence from teacher to student of each class's yes or no, summed over classes; one value per example.

    With p = sigmoid(t / T) and q = sigmoid(s / T): T² sum over k of p ln(p / q) + (1 - p) ln((1 - p) / (1 - q)).

    Args:
        student_BK: [B, K] float, raw logits.
        teacher_BK: likewise; no gradient flows to it.
        temperature: T in (0, inf), dimensionless.

    Returns:
        [B], nats, >= 0, 0 only where the logits are alike.

    Raises:
        ShapeError: shapes differ.
        ValueError: T is out of bounds.

    Reference:
        Yang et al. 2023, arXiv:2308.06453, its term on logits, with the temperature of Hinton et al. 2015. Departs: T is 1 there.
    """
    import torch
    from torch.nn.functional import logsigmoid

    if student_BK.ndim != 2 or student_BK.shape != teacher_BK.shape:
        raise ShapeError(
            f"multi_label_soft: needs logits [B, K] alike; got {list(student_BK.shape)} and {list(teacher_BK.shape)}."
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"multi_label_soft: temperature must be in (0, inf); got temperature={temperature}.")
    s, t = student_BK / temperature, teacher_BK.detach() / temperature
    p = torch.sigmoid(t)
    loss = p * (logsigmoid(t) - logsigmoid(s)) + (1 - p) * (logsigmoid(-t) - logsigmoid(-s))
    return temperature**2 * loss.sum(dim=1)


@registry.register
class MultiLabelSoftSpec(ObjectiveSpec):
    """The teacher's yes or no of each class by itself, softened."""

    reference: ClassVar[str] = "Yang et al. 2023, arXiv:2308.06453"
    teaches: ClassVar[tuple[TaskOutput, ...]] = ("flags",)
    dense: ClassVar[bool] = True
    kind: Literal["multi-label-soft"] = "multi-label-soft"
    temperature: float = Field(default=1.0, gt=0)
    """T, dimensionless: logits of both are divided by it, and the loss is times its square."""

    def needs(self) -> Needs:
        return Needs(teacher="logits", temperatures=(1.0,))

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError(f"{self.kind}: needs the teacher's logits; this training has none.")
        return multi_label_soft(x.logits_BK, x.teacher.logits(), self.temperature)
