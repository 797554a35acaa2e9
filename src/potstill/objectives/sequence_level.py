"""Sequence-level distillation: the teacher's own words as labels. Shapes: B rows, L tokens, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives._base import LossInputs, Needs, registry
from potstill.objectives._sequences import TokenOutputSpec, mean_over_tokens

if TYPE_CHECKING:
    from torch import Tensor


def sequence_level(student_logits_BLK: Tensor, tokens_BL: Tensor) -> Tensor:
    """Cross-entropy with the sequence that the teacher's beam search found, one value per example: the mean over its tokens.

    Args:
        student_logits_BLK: [B, L, K] float, raw, of the token at each place after the teacher's tokens before it: the student
            must have been fed these, shifted by one.
        tokens_BL: [B, L] int64 in 0..K-1, what the teacher wrote; -1 is padding.

    Returns:
        [B], nats a token, >= 0; 0 for a row that is all padding. Weighted by the numbers of tokens, the mean over rows is the
        mean over the batch's tokens.

    Raises:
        ShapeError: shapes do not fit, or a token is not in 0..K-1.

    Reference:
        Kim and Rush 2016, arXiv:1606.07947, section 3.2: the negative log-likelihood of the beam's best sequence. Departs: a
        mean over tokens, not a sum over the sequence.
    """
    import torch

    if student_logits_BLK.ndim != 3 or student_logits_BLK.shape[:2] != tokens_BL.shape:
        raise ShapeError(
            f"sequence_level: needs logits [B, L, K] and the teacher's tokens [B, L]; got {list(student_logits_BLK.shape)} and "
            f"{list(tokens_BL.shape)}. The student must be run on the teacher's tokens, padded alike."
        )
    num_classes = student_logits_BLK.shape[2]
    if tokens_BL.numel() and int(tokens_BL.max()) >= num_classes:
        raise ShapeError(
            f"sequence_level: the teacher's tokens must be in 0..{num_classes - 1}, the student's classes; got "
            f"{int(tokens_BL.max())}. Check that both share one tokeniser."
        )
    log_q = torch.log_softmax(student_logits_BLK, dim=2)
    own = -log_q.gather(2, tokens_BL.clamp(min=0)[:, :, None])[:, :, 0]
    return mean_over_tokens(own, tokens_BL >= 0)


@registry.register
class SequenceLevelSpec(TokenOutputSpec):
    """Cross-entropy with the sequences of the teacher's beam search; the store must hold their tokens (codec token-ids)."""

    reference: ClassVar[str] = "Kim and Rush 2016, arXiv:1606.07947"
    kind: Literal["sequence-level"] = "sequence-level"

    def needs(self) -> Needs:
        return Needs(teacher="tokens")

    def real(self, x: LossInputs) -> Tensor:
        return self._tokens(x) >= 0

    def loss(self, x: LossInputs) -> Tensor:
        return sequence_level(x.logits_BLK, self._tokens(x))

    def _tokens(self, x: LossInputs) -> Tensor:
        if x.teacher is None:
            raise StoreError("sequence-level: needs the teacher's tokens; this training has none.")
        return x.teacher.tokens()
