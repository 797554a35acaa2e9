"""Cross-entropy with the teacher's most likely class: what remains of a teacher without its dark knowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives._checks import same_shape

if TYPE_CHECKING:
    from torch import Tensor


def hard_pseudo_label(student_logits_BK: Tensor, teacher_scores_BK: Tensor) -> Tensor:
    """Cross-entropy with the teacher's argmax, one value per example.

    Args:
        student_logits_BK: [B, K] float, raw.
        teacher_scores_BK: [B, K] float, logits or probabilities; receives no gradient.

    Returns:
        [B], nats, >= 0.

    Raises:
        ShapeError: shapes differ.

    Reference:
        Lee 2013, "Pseudo-Label", ICML workshop on challenges in representation learning. Departs: the labels are a
        fixed teacher's, not the student's own.
    """
    import torch

    same_shape("hard_pseudo_label", student_logits_BK, teacher_scores_BK)
    log_q = torch.log_softmax(student_logits_BK, dim=1)
    return -log_q.gather(1, teacher_scores_BK.detach().argmax(dim=1, keepdim=True))[:, 0]


@registry.register
class HardPseudoLabelSpec(ObjectiveSpec):
    """Cross-entropy with the teacher's argmax on every row, mixed rows included (the teacher saw the mixed pixels)."""

    reference: ClassVar[str] = "Lee 2013, Pseudo-Label, ICML workshop"
    kind: Literal["hard-pseudo-label"] = "hard-pseudo-label"

    def needs(self) -> Needs:
        return Needs(teacher="either", temperatures=(1.0,))

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("hard-pseudo-label: needs the teacher's outputs; this training has none.")
        # The argmax of logits: softmax may round two of them to the same probability.
        given = x.teacher.logits() if x.teacher.output == "logits" else x.teacher.probabilities()
        return hard_pseudo_label(x.logits_BK, given)
