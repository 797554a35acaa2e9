"""Cross-entropy with the true text, token by token. Shapes: B rows, L tokens, K tokens to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.objectives._base import LossInputs, Needs, registry
from potstill.objectives._sequences import TokenOutputSpec, mean_over_tokens

if TYPE_CHECKING:
    from torch import Tensor


def token_hard_label(student_logits_BLK: Tensor, tokens_BL: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true tokens, one value per example: the mean over its tokens.

    Args:
        student_logits_BLK: [B, L, K] float, raw, of the token at each place after the true tokens before it.
        tokens_BL: [B, L] int64 in 0..K-1; -1 is padding.
        smoothing: in [0, 1), dimensionless; that share of the target is spread evenly over all K tokens.

    Returns:
        [B], nats a token, >= 0; 0 for a row that is all padding. Weighted by the numbers of tokens, the mean over rows is the
        mean over the batch's tokens.

    Raises:
        ShapeError: shapes do not fit, or a token is not in 0..K-1.
        ValueError: smoothing is out of bounds.

    Reference:
        Sutskever et al. 2014, arXiv:1409.3215, eq. 2; Szegedy et al. 2016, arXiv:1512.00567, section 7 (smoothing). Departs: no.
    """
    import torch

    if student_logits_BLK.ndim != 3 or student_logits_BLK.shape[:2] != tokens_BL.shape:
        raise ShapeError(
            f"token_hard_label: needs logits [B, L, K] and tokens [B, L]; got {list(student_logits_BLK.shape)} and "
            f"{list(tokens_BL.shape)}. The student must be run on the true text, padded alike."
        )
    if not 0 <= smoothing < 1:
        raise ValueError(f"token_hard_label: smoothing must be in [0, 1); got smoothing={smoothing}.")
    num_classes = student_logits_BLK.shape[2]
    if tokens_BL.numel() and int(tokens_BL.max()) >= num_classes:
        raise ShapeError(
            f"token_hard_label: tokens must be in 0..{num_classes - 1}, the student's classes; got {int(tokens_BL.max())}."
        )
    log_q = torch.log_softmax(student_logits_BLK, dim=2)
    loss = -log_q.gather(2, tokens_BL.clamp(min=0)[:, :, None])[:, :, 0]
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_q.mean(dim=2)
    return mean_over_tokens(loss, tokens_BL >= 0)


@registry.register
class TokenHardLabelSpec(TokenOutputSpec):
    """Cross-entropy with the true text; the batch loss is the mean over all its tokens."""

    reference: ClassVar[str] = "Sutskever et al. 2014, arXiv:1409.3215"
    kind: Literal["token-hard-label"] = "token-hard-label"
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all tokens, dimensionless."""

    def needs(self) -> Needs:
        return Needs(labels=True)

    def real(self, x: LossInputs) -> Tensor:
        return self._tokens(x) >= 0

    def loss(self, x: LossInputs) -> Tensor:
        return token_hard_label(x.logits_BLK, self._tokens(x), self.smoothing)

    def _tokens(self, x: LossInputs) -> Tensor:
        if x.tokens_BL is None:
            raise ShapeError(
                "token-hard-label: needs the true tokens; this data has none. Use a source of pairs of texts."
            )
        return x.tokens_BL
