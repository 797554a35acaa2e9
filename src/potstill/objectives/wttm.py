"""The student, unsoftened, matched to the teacher's power-transformed distribution. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import positive_temperature, same_shape

if TYPE_CHECKING:
    from torch import Tensor


def wttm(
    student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float = 4.0,
    teacher_at_one_BK: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """KL divergence from the teacher's distribution to the power 1 / T, weighted by that power's sum, one value per example.

    With p and q the distributions of teacher and student at T = 1, g = 1 / T and U = sum of p_i^g: U KL(p^g / U || q).
    p^g / U is the softened teacher; the student is not softened. U lies in [1, K^(1 - g)] for T >= 1 and is larger for
    smoother rows.

    Args:
        student_logits_BK: [B, K] float, raw.
        teacher_logits_BK: [B, K] float, raw, or log-probabilities (-inf allowed): shifts of a row change nothing;
            receives no gradient.
        temperature: T in (0, inf), dimensionless; at 1 it is the plain KL divergence.
        teacher_at_one_BK: the teacher's logits as a sparse store gives them for T = 1, where it fills what it does not keep
            anew for each T; None takes `teacher_logits_BK`.

    Returns:
        [B], nats (no T²: the student's gradient does not shrink with T), >= 0 but for rounding; 0 only where q is p^g / U.

    Raises:
        ShapeError: shapes differ.
        ValueError: temperature is out of bounds.

    Reference:
        Zheng and Yang 2024, arXiv:2402.11148, sections 3 and 4. Departs: no.
    """
    import torch

    same_shape("wttm", student_logits_BK, teacher_logits_BK)
    positive_temperature("wttm", temperature)
    softened_BK = teacher_logits_BK.detach() / temperature
    at_one_BK = teacher_logits_BK if teacher_at_one_BK is None else teacher_at_one_BK
    same_shape("wttm", student_logits_BK, at_one_BK)
    # ln U = ln sum exp(z_i / T) - (1 / T) ln sum exp(z_i)
    log_sum = torch.logsumexp(softened_BK, dim=1) - torch.logsumexp(at_one_BK.detach(), dim=1) / temperature
    p = torch.softmax(softened_BK, dim=1)
    log_q = torch.log_softmax(student_logits_BK, dim=1)
    return log_sum.exp() * (torch.xlogy(p, p) - p * log_q).sum(dim=1)


@registry.register
class WttmSpec(ObjectiveSpec):
    """KL divergence from the teacher to the power 1 / T to the unsoftened student, weighted by that power's sum.

    Takes logits or probabilities, and every codec that serves both 1 and T (a top-k store keeps the rest's mass at both).
    Reads no labels; in a mixed row the teacher saw the mixed picture. Meant to stand beside `hard-label`.
    """

    reference: ClassVar[str] = "Zheng and Yang 2024, arXiv:2402.11148"
    kind: Literal["wttm"] = "wttm"
    temperature: float = Field(default=4.0, gt=0)
    """T, dimensionless; the exponent is 1 / T. The authors tune it, and the weight, to each pair of models."""

    def needs(self) -> Needs:
        return Needs(teacher="either", temperatures=tuple(dict.fromkeys((1.0, self.temperature))))

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("wttm: needs the teacher's outputs; this training has none.")
        if x.teacher.output == "probabilities":
            return wttm(x.logits_BK, x.teacher.probabilities().log(), self.temperature)
        return wttm(x.logits_BK, x.teacher.logits(self.temperature), self.temperature, x.teacher.logits())
