"""What objectives on tokens share. Shapes: B rows, A heads, L tokens, S tokens that are looked at, K classes, D width."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from potstill.core.errors import ShapeError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, ObjectiveSpec
from potstill.objectives._checks import kl_divergence
from potstill.objectives._features import FeatureSpec, paired

if TYPE_CHECKING:
    from torch import Tensor

_NOWHERE = -1e30
"""Score of padding: exp of it is 0 in every precision, and differences stay finite."""


class TokenFeatureSpec(FeatureSpec, ABC):
    """A sum over pairs of taps whose positions are tokens; padding is left out, and each row counts as one."""

    def loss(self, x: LossInputs) -> Tensor:
        masks = [x.tap_masks.get(name, x.token_mask_BL) for name in x.student_taps]
        pairs = [self.pair_loss(*pair, mask) for pair, mask in zip(paired(self.kind, x), masks, strict=True)]
        return functools.reduce(operator.add, pairs)

    @abstractmethod
    def pair_loss(self, student: Tensor, teacher: Tensor, token_mask_BL: Tensor | None = None) -> Tensor:
        """Return the loss of one pair, [B], over the real tokens; the teacher receives no gradient."""


class TokenOutputSpec(ObjectiveSpec, ABC):
    """A term on each token that the student gives; the batch loss is the mean over all its real tokens."""

    teaches: ClassVar[tuple[TaskOutput, ...]] = ("tokens",)

    def mask(self, x: LossInputs) -> Tensor:
        """Return [B] float32, the number of a row's real tokens: the mean over a batch is over tokens, not rows."""
        return self.real(x).sum(dim=1).float()

    def real(self, x: LossInputs) -> Tensor:
        """Return [B, L] bool, the tokens that have this term."""
        import torch

        mask = x.token_mask_BL
        return torch.ones_like(x.logits_BLK[:, :, 0], dtype=torch.bool) if mask is None else mask.bool()


def check_tokens(where: str, token_mask_BL: Tensor | None, rows: int, length: int) -> None:
    """Raise ShapeError unless the mask is None or [B, L] of these."""
    if token_mask_BL is not None and tuple(token_mask_BL.shape) != (rows, length):
        raise ShapeError(
            f"{where}: token_mask_BL must be [B, L] of the tokens compared, [{rows}, {length}]; got "
            f"{list(token_mask_BL.shape)}. Padding would be learnt from."
        )


def mean_over_tokens(values_BL: Tensor, token_mask_BL: Tensor | None) -> Tensor:
    """Return [B], each row's mean over its real tokens; 0 where it has none."""
    if token_mask_BL is None:
        return values_BL.mean(dim=1)
    mask = token_mask_BL.bool()
    return values_BL.where(mask, values_BL.new_zeros(())).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def kl_of_scores(student_BALS: Tensor, teacher_BALS: Tensor, token_mask_BL: Tensor | None) -> Tensor:
    """Return [B], the KL divergence from the teacher's softmax over S to the student's: its mean over heads and real tokens,
    in nats. Padding is neither looked at nor looks."""
    import torch

    if token_mask_BL is not None:
        padding = ~token_mask_BL.bool()[:, None, None, :]
        student_BALS, teacher_BALS = (s.masked_fill(padding, _NOWHERE) for s in (student_BALS, teacher_BALS))
    log_q, log_p = torch.log_softmax(student_BALS, dim=3), torch.log_softmax(teacher_BALS.detach(), dim=3)
    return mean_over_tokens(kl_divergence(log_p, log_q, dim=3).mean(dim=1), token_mask_BL)
