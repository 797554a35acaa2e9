"""Hinton's loss: softened KL divergence from the teacher. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import Temperature, enough_classes, kl_divergence, positive_temperature, same_shape
from potstill.schedules import levels_of, value_at

if TYPE_CHECKING:
    from torch import Tensor

STD_FLOOR = 1e-6


def soft_label(
    student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float, standardize: bool = False
) -> Tensor:
    """Softened KL divergence, one value per example, times T².

    Args:
        student_logits_BK: [B, K] float, raw.
        teacher_logits_BK: [B, K] float, raw; receives no gradient.
        temperature: T in (0, inf), dimensionless; 1 leaves the distributions as they are.
        standardize: first bring each row of logits, the student's too, to mean 0 and standard deviation 1.

    Returns:
        [B], nats times T², >= 0 but for rounding (about T² times 1e-7 in float32); 0 only where the softened
        distributions match.

    Raises:
        ShapeError: shapes differ, or two classes are to be standardised.
        ValueError: temperature is out of bounds.

    Reference:
        Hinton et al. 2015, arXiv:1503.02531, eq. 1 and section 2; standardisation: Sun et al. 2024, arXiv:2403.01427,
        algorithm 1. Departs: the divisor is the standard deviation over K, floored, where the authors' code has K - 1
        and adds 1e-7.
    """
    import torch

    same_shape("soft_label", student_logits_BK, teacher_logits_BK)
    positive_temperature("soft_label", temperature)
    teacher_BK = teacher_logits_BK.detach()
    student_BK = student_logits_BK
    if standardize:
        enough_classes("soft_label", student_BK.shape[1], _why(student_BK.shape[1]))
        student_BK, teacher_BK = standardized(student_BK), standardized(teacher_BK)
    log_p = torch.log_softmax(teacher_BK / temperature, dim=1)
    log_q = torch.log_softmax(student_BK / temperature, dim=1)
    return kl_divergence(log_p, log_q, dim=1) * temperature**2


def standardized(logits_BK: Tensor) -> Tensor:
    """Return rows with mean 0 and standard deviation 1 (ddof 0 over K, floored at 1e-6)."""
    centred = logits_BK - logits_BK.mean(dim=1, keepdim=True)
    std = centred.square().mean(dim=1, keepdim=True).clamp(min=STD_FLOOR**2).sqrt()
    return centred / std


def _why(num_classes: int) -> str | None:
    if num_classes > 2:
        return None
    return "Two logits brought to standard deviation 1 are 1 and -1 whatever they were. Set standardize: false"


def soft_probability(student_logits_BK: Tensor, teacher_probabilities_BK: Tensor) -> Tensor:
    """KL divergence from a teacher that gives probabilities (T = 1), one value per example.

    Args:
        student_logits_BK: [B, K] float, raw.
        teacher_probabilities_BK: [B, K] float, rows summing to 1; 0 ln 0 counts as 0.

    Returns:
        [B], nats, >= 0.

    Raises:
        ShapeError: shapes differ.

    Reference:
        Hinton et al. 2015, arXiv:1503.02531, eq. 1 at T = 1.
    """
    import torch

    same_shape("soft_probability", student_logits_BK, teacher_probabilities_BK)
    p = teacher_probabilities_BK.detach()
    log_q = torch.log_softmax(student_logits_BK, dim=1)
    return (torch.xlogy(p, p) - p * log_q).sum(dim=1)


@registry.register
class SoftLabelSpec(ObjectiveSpec):
    """Softened KL divergence from the teacher, times T²."""

    reference: ClassVar[str] = "Hinton et al. 2015, arXiv:1503.02531; Sun et al. 2024, arXiv:2403.01427 (standardize)"
    kind: Literal["soft-label"] = "soft-label"
    temperature: Temperature = 1.0
    """T > 0, dimensionless; a number or a schedule. 1 leaves the distributions as they are, and was best or level in our
    ledger (docs/results/gain.md); the papers' 4 was worst."""
    standardize: bool = False
    """Bring each row of both models' logits to mean 0 and standard deviation 1 before dividing by T."""

    def needs(self) -> Needs:
        temperatures = levels_of(self.temperature)
        if temperatures == (1.0,) and not self.standardize:
            return Needs(teacher="either", temperatures=(1.0,))
        return Needs(teacher="logits", temperatures=temperatures, standardized=self.standardize)

    def refuses(self, num_classes: int) -> str | None:
        return _why(num_classes) if self.standardize else None

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("soft-label: needs the teacher's outputs; this training has none.")
        if x.teacher.output == "probabilities" and self.needs().teacher == "either":
            return soft_probability(x.logits_BK, x.teacher.probabilities())
        temperature = value_at(self.temperature, x.progress)
        teacher_BK = x.teacher.logits(temperature, self.standardize)
        if self.standardize:
            enough_classes("soft-label", x.logits_BK.shape[1], _why(x.logits_BK.shape[1]))
            # The store gives standardised rows: only the student's remain to be brought there.
            return soft_label(standardized(x.logits_BK), teacher_BK, temperature)
        return soft_label(x.logits_BK, teacher_BK, temperature)

    def readings(self, progress: float) -> dict[str, float]:
        return {"temperature": value_at(self.temperature, progress)}
