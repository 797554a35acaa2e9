"""Cross-entropy with the labels, smoothed or not. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry

if TYPE_CHECKING:
    from torch import Tensor


def hard_label(logits_BK: Tensor, labels_B: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, one value per example.

    Args:
        logits_BK: [B, K] float, raw.
        labels_B: [B] int64 in 0..K-1; -1 marks a row without a label, whose loss is 0.
        smoothing: in [0, 1), dimensionless; that share of the target is spread evenly over all K classes.

    Returns:
        [B], nats, >= 0.

    Raises:
        ShapeError: shapes do not fit.
        ValueError: smoothing is out of bounds.

    Reference:
        Szegedy et al. 2016, arXiv:1512.00567, section 7. Departs: no.
    """
    import torch

    if logits_BK.ndim != 2 or labels_B.shape != logits_BK.shape[:1]:
        raise ShapeError(
            f"hard_label: needs logits [B, K] and labels [B]; got {list(logits_BK.shape)} and {list(labels_B.shape)}."
        )
    if not 0 <= smoothing < 1:
        raise ValueError(f"hard_label: smoothing must be in [0, 1); got smoothing={smoothing}.")
    log_q = torch.log_softmax(logits_BK, dim=1)
    own = -log_q.gather(1, labels_B.clamp(min=0)[:, None])[:, 0]
    loss = own if smoothing == 0 else (1 - smoothing) * own - smoothing * log_q.mean(dim=1)
    return torch.where(labels_B >= 0, loss, torch.zeros_like(loss))


@registry.register
class HardLabelSpec(ObjectiveSpec):
    """Cross-entropy with the labels; rows without one carry no such term."""

    reference: ClassVar[str] = "Szegedy et al. 2016, arXiv:1512.00567 (smoothing)"
    kind: Literal["hard-label"] = "hard-label"
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes, dimensionless."""

    def needs(self) -> Needs:
        return Needs(labels=True)

    def loss(self, x: LossInputs) -> Tensor:
        own = hard_label(x.logits_BK, x.labels_B, self.smoothing)
        if x.mix_B is None or x.partner_labels_B is None:
            return own
        return x.mix_B * own + (1 - x.mix_B) * hard_label(x.logits_BK, x.partner_labels_B, self.smoothing)

    def mask(self, x: LossInputs) -> Tensor:
        known = x.labels_B >= 0
        if x.partner_labels_B is not None:
            known = known & (x.partner_labels_B >= 0)
        return known.to(x.logits_BK.dtype)
