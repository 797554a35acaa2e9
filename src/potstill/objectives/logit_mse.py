"""Squared distance between logits. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import same_shape

if TYPE_CHECKING:
    from torch import Tensor


def logit_mse(student_logits_BK: Tensor, teacher_logits_BK: Tensor, centre: bool = False) -> Tensor:
    """Half the squared distance between logits, summed over classes, one value per example.

    Args:
        student_logits_BK: [B, K] float, raw.
        teacher_logits_BK: [B, K] float, raw; receives no gradient.
        centre: subtract each row's mean first: softmax does not see it.

    Returns:
        [B], squared logit units, >= 0.

    Raises:
        ShapeError: shapes differ.

    Reference:
        Ba and Caruana 2014, arXiv:1312.6184, eq. 1: 1/2 ||g - z||² per example; Kim et al. 2021, arXiv:2105.08919, who
        leave out the 1/2. Departs: no (Ba and Caruana).
    """
    same_shape("logit_mse", student_logits_BK, teacher_logits_BK)
    difference = student_logits_BK - teacher_logits_BK.detach()
    if centre:
        difference = difference - difference.mean(dim=1, keepdim=True)
    return 0.5 * difference.square().sum(dim=1)


@registry.register
class LogitMseSpec(ObjectiveSpec):
    """Half the squared distance between student's and teacher's logits, summed over classes."""

    reference: ClassVar[str] = "Ba and Caruana 2014, arXiv:1312.6184"
    dense: ClassVar[bool] = True
    kind: Literal["logit-mse"] = "logit-mse"
    centre: bool = False
    """Subtract each row's mean first: softmax does not see it."""

    def needs(self) -> Needs:
        return Needs(teacher="logits", temperatures=(1.0,))

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("logit-mse: needs the teacher's outputs; this training has none.")
        return logit_mse(x.logits_BK, x.teacher.logits(), self.centre)
