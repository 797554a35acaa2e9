"""Decoupled distillation: the target's share and the other classes, each with a weight. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

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
from potstill.schedules import Scheduled
from potstill.schedules.linear import LinearSpec

if TYPE_CHECKING:
    from torch import Tensor


def dkd(
    student_logits_BK: Tensor, teacher_logits_BK: Tensor, labels_B: Tensor, alpha: float = 1.0, beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:  # fmt: skip
    """KL divergence of (target, rest) and KL divergence among the rest, weighted apart, one value per example, times T².

    With p and q the softened distributions of teacher and student, t the target and p^ = p / (1 - p_t) over the others:
    T² (alpha KL((p_t, 1 - p_t) || (q_t, 1 - q_t)) + beta KL(p^ || q^)). With alpha = 1 and beta = 1 - p_t in each row it
    is soft-label's loss.

    Args:
        student_logits_BK: [B, K] float, raw; K >= 3.
        teacher_logits_BK: [B, K] float, raw; receives no gradient.
        labels_B: [B] int64 in 0..K-1, the targets; where a row has none (-1), the teacher's argmax is the target.
        alpha: weight of the target's part, >= 0, dimensionless.
        beta: weight of the other classes' part, >= 0, dimensionless; one of the two is above 0.
        temperature: T in (0, inf), dimensionless.

    Returns:
        [B], nats times T², >= 0 but for rounding; with both weights above 0, 0 only where the softened distributions match.

    Raises:
        ShapeError: shapes do not fit, or there are fewer than three classes.
        ValueError: a weight or the temperature is out of bounds.

    Reference:
        Zhao et al. 2022, arXiv:2203.08679, the DKD loss (times T², as in the authors' code). Departs: the paper has a label for
        every row.
    """
    import torch

    same_shape("dkd", student_logits_BK, teacher_logits_BK)
    positive_temperature("dkd", temperature)
    weights_in_bounds("dkd", alpha=alpha, beta=beta)
    enough_classes("dkd", student_logits_BK.shape[1], without_others(student_logits_BK.shape[1], "beta"))
    teacher_BK = teacher_logits_BK.detach()
    target_B = labels_or_argmax("dkd", labels_B, teacher_BK)
    parts = []
    for logits_BK in (teacher_BK / temperature, student_logits_BK / temperature):
        others = all_but(logits_BK, target_B)
        target = logits_BK.gather(1, target_B[:, None])
        # Of logits, not of probabilities: 1 - p_t of a confident teacher would be rounded away.
        pair = torch.cat([target, torch.logsumexp(others, dim=1, keepdim=True)], dim=1)
        parts.append((torch.log_softmax(pair, dim=1), torch.log_softmax(others, dim=1)))
    (pair_p, others_p), (pair_q, others_q) = parts
    of_target = (pair_p.exp() * (pair_p - pair_q)).sum(dim=1)
    of_others = (others_p.exp() * (others_p - others_q)).sum(dim=1)
    return (alpha * of_target + beta * of_others) * temperature**2


@registry.register
class DkdSpec(ObjectiveSpec):
    """Soft labels with a weight for the target's share and one for the other classes, times T².

    Wants the teacher's logits and a codec that keeps every class (the label need not be among the teacher's largest). The
    target is the label; on rows without one, the teacher's argmax. In a mixed row it is both pictures' labels, weighted by
    their shares (the teacher's argmax where either label is missing). Meant to stand beside `hard-label`.
    """

    reference: ClassVar[str] = "Zhao et al. 2022, arXiv:2203.08679"
    dense: ClassVar[bool] = True
    kind: Literal["dkd"] = "dkd"
    weight: Scheduled = Field(default=LinearSpec(start=0.05, end=1.0, until=1 / 12))
    """Multiplier of this term, >= 0. The default is the authors' warm-up, 1/20 to 1 over 20 of 240 epochs; a number has none."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the target's part, dimensionless."""
    beta: float = Field(default=8.0, ge=0)
    """Weight of the other classes' part, dimensionless; the authors' configurations have 0.5 (ImageNet) to 8."""
    temperature: float = Field(default=4.0, gt=0)
    """T, dimensionless; both parts are multiplied by T²."""

    @model_validator(mode="after")
    def _weighs(self) -> DkdSpec:
        weights_in_bounds("dkd", alpha=self.alpha, beta=self.beta)
        return self

    def needs(self) -> Needs:
        return Needs(labels=True, labels_optional=True, teacher="logits", temperatures=(self.temperature,))

    def refuses(self, num_classes: int) -> str | None:
        return without_others(num_classes, "beta")

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("dkd: needs the teacher's outputs; this training has none.")
        teacher_BK = x.teacher.logits(self.temperature)
        return over_labels(
            x, lambda labels: dkd(x.logits_BK, teacher_BK, labels, self.alpha, self.beta, self.temperature)
        )
