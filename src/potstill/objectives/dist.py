"""Correlation with the teacher, within each row and within each class over the batch. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import enough_classes, positive_temperature, same_shape, weights_in_bounds

if TYPE_CHECKING:
    from torch import Tensor

NORM_FLOOR = 1e-6
"""A centred vector of probabilities with a norm up to this counts as constant."""


def dist(
    student_logits_BK: Tensor,
    teacher_logits_BK: Tensor,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """One minus Pearson's correlation of the softened distributions, within rows and within classes, times T².

    With p and q the softened distributions of teacher and student and r the correlation of two vectors, a row b has
    T² (beta (1 - r(p_b, q_b)) + gamma (1 - mean over classes k of r(p_.k, q_.k))). The second part is the same for every
    row: the mean over rows is the loss of the batch, and a single row's value means nothing.

    Args:
        student_logits_BK: [B, K] float, raw; K >= 3, or beta = 0.
        teacher_logits_BK: [B, K] float, raw, or log-probabilities (-inf allowed); receives no gradient.
        temperature: T in (0, inf), dimensionless.
        beta: weight of the relation between classes (within rows), >= 0, dimensionless.
        gamma: weight of the relation within classes (over the batch), >= 0, dimensionless; one of the two is above 0.

    Returns:
        [B], dimensionless, in [0, 2 (beta + gamma) T²] but for rounding; 0 for equal distributions. A constant vector (any
        class, in a batch of one row) has correlation 0 and no gradient.

    Raises:
        ShapeError: shapes differ, or there are two classes and beta > 0.
        ValueError: a weight or the temperature is out of bounds.

    Reference:
        Huang et al. 2022, arXiv:2205.10536. T² as in torchdistill's DISTLoss; the authors' code for ImageNet has T = 1 only.
        Departs: the authors add 1e-8 to the product of the norms, which fades rare classes out; here a vector counts unless
        it is constant (norm up to 1e-6).
    """
    import torch

    same_shape("dist", student_logits_BK, teacher_logits_BK)
    positive_temperature("dist", temperature)
    weights_in_bounds("dist", beta=beta, gamma=gamma)
    enough_classes("dist", student_logits_BK.shape[1], _why(student_logits_BK.shape[1], beta))
    p = torch.softmax(teacher_logits_BK.detach() / temperature, dim=1)
    q = torch.softmax(student_logits_BK / temperature, dim=1)
    between_B, within_K = 1 - _correlation(p, q, dim=1), 1 - _correlation(p, q, dim=0)
    return (beta * between_B + gamma * within_K.mean()) * temperature**2


def _correlation(p: Tensor, q: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along `dim`, in [-1, 1]; 0, without a gradient, where either vector is constant."""
    import torch

    p, q = p - p.mean(dim=dim, keepdim=True), q - q.mean(dim=dim, keepdim=True)
    squares_p, squares_q = p.square().sum(dim=dim), q.square().sum(dim=dim)
    floor = NORM_FLOOR**2
    ratio = (p * q).sum(dim=dim) / (squares_p.clamp(min=floor).sqrt() * squares_q.clamp(min=floor).sqrt())
    return torch.where((squares_p > floor) & (squares_q > floor), ratio, torch.zeros_like(ratio))


def _why(num_classes: int, beta: float) -> str | None:
    if num_classes > 2 or beta == 0:
        return None
    return (
        "The correlation of two rows of two probabilities is 1 or -1 whatever their values, so it teaches nothing. Set "
        "beta: 0, which leaves the relation within classes, or use soft-label"
    )


@registry.register
class DistSpec(ObjectiveSpec):
    """Correlation with the teacher's probabilities, within each row and within each class over the batch, times T².

    Takes logits; at T = 1 probabilities, too. Wants a codec that keeps every class. Reads no labels; in a mixed row the
    teacher saw the mixed picture. Relational: with several processes each one correlates over its own share of the batch, so
    the second part is that of smaller batches. In a batch of one row it is a constant, T² gamma.
    """

    reference: ClassVar[str] = "Huang et al. 2022, arXiv:2205.10536"
    dense: ClassVar[bool] = True
    relational: ClassVar[bool] = True
    kind: Literal["dist"] = "dist"
    beta: float = Field(default=1.0, ge=0)
    """Weight of the relation between classes (within each row), dimensionless."""
    gamma: float = Field(default=1.0, ge=0)
    """Weight of the relation within classes (over the batch), dimensionless."""
    temperature: float = Field(default=1.0, gt=0)
    """T, dimensionless; both parts are multiplied by T². For CIFAR-100, Zheng and Yang (arXiv:2402.11148) run it at 4."""

    @model_validator(mode="after")
    def _weighs(self) -> DistSpec:
        weights_in_bounds("dist", beta=self.beta, gamma=self.gamma)
        return self

    def needs(self) -> Needs:
        return Needs(teacher="either" if self.temperature == 1 else "logits", temperatures=(self.temperature,))

    def refuses(self, num_classes: int) -> str | None:
        return _why(num_classes, self.beta)

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("dist: needs the teacher's outputs; this training has none.")
        if x.teacher.output == "probabilities" and self.needs().teacher == "either":
            given = x.teacher.probabilities().log()
        else:
            given = x.teacher.logits(self.temperature)
        return dist(x.logits_BK, given, self.temperature, self.beta, self.gamma)
