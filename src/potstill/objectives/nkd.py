"""Normalised distillation: the other classes compared as distributions of their own. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import (
    all_but,
    enough_classes,
    labels_or_argmax,
    over_labels,
    positive_temperature,
    same_shape,
    weights_in_bounds,
    without_others,
)

if TYPE_CHECKING:
    from torch import Tensor


def nkd(
    student_logits_BK: Tensor, teacher_logits_BK: Tensor, labels_B: Tensor, gamma: float = 1.5, temperature: float = 1.0
) -> Tensor:
    """Cross-entropy on the target, as large as the teacher's belief in it, and that among the others, one value per example.

    With p and q the distributions of teacher and student, t the target and p^, q^ the softened distributions over the other
    classes alone: -p_t ln q_t - gamma T² sum over i != t of p^_i ln q^_i. The target's part is never softened.

    Args:
        student_logits_BK: [B, K] float, raw; K >= 3.
        teacher_logits_BK: [B, K] float, raw; receives no gradient.
        labels_B: [B] int64 in 0..K-1, the targets; where a row has none (-1), the teacher's argmax is the target.
        gamma: weight of the other classes' part, > 0, dimensionless.
        temperature: T in (0, inf) of the other classes' part, dimensionless.

    Returns:
        [B], nats, >= gamma T² H(p^), the teacher's entropy over the others, which is reached for q^ = p^ and q_t -> 1. A
        student equal to its teacher is not at the minimum: the first part still draws it to the target.

    Raises:
        ShapeError: shapes do not fit, or there are fewer than three classes.
        ValueError: gamma or the temperature is out of bounds.

    Reference:
        Yang et al. 2023, arXiv:2303.13005, the NKD loss (the authors' code, `nkd.py`, has its defaults). Departs: the paper has a label for every row.
    """
    import torch

    same_shape("nkd", student_logits_BK, teacher_logits_BK)
    positive_temperature("nkd", temperature)
    weights_in_bounds("nkd", gamma=gamma)
    enough_classes("nkd", student_logits_BK.shape[1], without_others(student_logits_BK.shape[1], "gamma"))
    teacher_BK = teacher_logits_BK.detach()
    target_B = labels_or_argmax("nkd", labels_B, teacher_BK)
    belief, log_q = (
        torch.log_softmax(logits_BK, dim=1).gather(1, target_B[:, None])[:, 0]
        for logits_BK in (teacher_BK, student_logits_BK)
    )
    others_p = torch.softmax(all_but(teacher_BK, target_B) / temperature, dim=1)
    others_q = torch.log_softmax(all_but(student_logits_BK, target_B) / temperature, dim=1)
    return -belief.exp() * log_q - gamma * temperature**2 * (others_p * others_q).sum(dim=1)


@registry.register
class NkdSpec(ObjectiveSpec):
    """Cross-entropy on the target, weighted by the teacher's belief in it, and softened cross-entropy among the others.

    Wants the teacher's logits and a codec that keeps every class (the label need not be among the teacher's largest). The
    target is the label; on rows without one, the teacher's argmax. In a mixed row it is both pictures' labels, weighted by
    their shares (the teacher's argmax where either label is missing). Meant to stand beside `hard-label`.
    """

    reference: ClassVar[str] = "Yang et al. 2023, arXiv:2303.13005"
    dense: ClassVar[bool] = True
    kind: Literal["nkd"] = "nkd"
    gamma: float = Field(default=1.5, gt=0)
    """Weight of the other classes' part, dimensionless; the authors' configuration for CIFAR-100 has 3.5 at T = 3."""
    temperature: float = Field(default=1.0, gt=0)
    """T of the other classes' part, which is multiplied by T², dimensionless."""

    def needs(self) -> Needs:
        return Needs(labels=True, labels_optional=True, teacher="logits", temperatures=(self.temperature,))

    def refuses(self, num_classes: int) -> str | None:
        return without_others(num_classes, "gamma")

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("nkd: needs the teacher's outputs; this training has none.")
        teacher_BK = x.teacher.logits(self.temperature)
        return over_labels(x, lambda labels: nkd(x.logits_BK, teacher_BK, labels, self.gamma, self.temperature))
