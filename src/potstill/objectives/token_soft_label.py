"""Soft labels of every token. Shapes: B rows, L tokens, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives._base import LossInputs, Needs, registry
from potstill.objectives._checks import Temperature, kl_divergence, positive_temperature, shaped
from potstill.objectives._sequences import TokenOutputSpec, check_tokens, mean_over_tokens
from potstill.schedules import levels_of, value_at

if TYPE_CHECKING:
    from torch import Tensor


def token_soft_label(
    student_logits_BLK: Tensor, teacher_logits_BLK: Tensor, temperature: float, token_mask_BL: Tensor | None = None
) -> Tensor:
    """Softened KL divergence of each token, one value per example: their mean, times T².

    Args:
        student_logits_BLK: [B, L, K] float, raw.
        teacher_logits_BLK: [B, L, K] float, raw; receives no gradient.
        temperature: T in (0, inf), dimensionless; 1 leaves the distributions as they are.
        token_mask_BL: [B, L] bool, False for padding; None for none.

    Returns:
        [B], nats times T², >= 0 but for rounding: the mean over a row's real tokens; 0 for a row without any. Weighted by the
        numbers of tokens, the mean over rows is the mean over the batch's tokens.

    Raises:
        ShapeError: shapes differ, or the mask is of other tokens.
        ValueError: temperature is out of bounds.

    Reference:
        Kim and Rush 2016, arXiv:1606.07947, section 3.1 (word level); Hinton et al. 2015, arXiv:1503.02531 (T). Departs: KL,
        not cross-entropy, so that it is 0 where the models agree; the gradient is the same.
    """
    import torch

    if student_logits_BLK.ndim != 3 or student_logits_BLK.shape != teacher_logits_BLK.shape:
        raise ShapeError(
            f"token_soft_label: student and teacher must give logits [B, L, K] of the same tokens and classes; got "
            f"{list(student_logits_BLK.shape)} and {list(teacher_logits_BLK.shape)}. Check that both share one tokeniser."
        )
    positive_temperature("token_soft_label", temperature)
    check_tokens("token_soft_label", token_mask_BL, student_logits_BLK.shape[0], student_logits_BLK.shape[1])
    log_p = torch.log_softmax(teacher_logits_BLK.detach() / temperature, dim=2)
    log_q = torch.log_softmax(student_logits_BLK / temperature, dim=2)
    return mean_over_tokens(kl_divergence(log_p, log_q, dim=2), token_mask_BL) * temperature**2


@registry.register
class TokenSoftLabelSpec(TokenOutputSpec):
    """Softened KL divergence from the teacher for each token, times T², averaged over the real tokens of a batch."""

    reference: ClassVar[str] = "Kim and Rush 2016, arXiv:1606.07947; Hinton et al. 2015, arXiv:1503.02531"
    dense: ClassVar[bool] = True
    kind: Literal["token-soft-label"] = "token-soft-label"
    temperature: Temperature = 1.0
    """T > 0, dimensionless; a number or a schedule. 1 leaves the distributions as they are."""

    def needs(self) -> Needs:
        return Needs(teacher="logits", temperatures=levels_of(self.temperature))

    def loss(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("token-soft-label: needs the teacher's outputs; this training has none.")
        temperature = value_at(self.temperature, x.progress)
        teacher = shaped("token-soft-label", x.teacher.logits(temperature), x.logits_BLK)
        return token_soft_label(x.logits_BLK, teacher, temperature, x.token_mask_BL)

    def readings(self, progress: float) -> dict[str, float]:
        return {"temperature": value_at(self.temperature, progress)}
