"""Cross-entropy of each class by itself. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import ShapeError, StoreError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry

if TYPE_CHECKING:
    from torch import Tensor


def multi_label(logits_BK: Tensor, flags_BK: Tensor) -> Tensor:
    """Binary cross-entropy of each class, summed over classes; one value per example.

    Args:
        logits_BK: [B, K] float, raw; a class is said to be there with probability sigmoid(z).
        flags_BK: [B, K] of 0 and 1, NaN where unknown, which counts nothing.

    Returns:
        [B], nats, >= 0.

    Raises:
        ShapeError: shapes differ.

    Reference:
        Zhang and Zhou 2006, doi:10.1109/TKDE.2006.162 (BP-MLL), compares it with a ranking loss. Departs: no.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    if logits_BK.ndim != 2 or logits_BK.shape != flags_BK.shape:
        raise ShapeError(
            f"multi_label: needs logits and flags [B, K] alike; got {list(logits_BK.shape)} and {list(flags_BK.shape)}."
        )
    known = torch.isfinite(flags_BK)
    target = torch.where(known, flags_BK, torch.zeros_like(flags_BK)).to(logits_BK.dtype)
    loss = binary_cross_entropy_with_logits(logits_BK, target, reduction="none")
    return torch.where(known, loss, torch.zeros_like(loss)).sum(dim=1)


@registry.register
class MultiLabelSpec(ObjectiveSpec):
    """Cross-entropy of each class by itself, where a row may have several of them or none."""

    reference: ClassVar[str] = "Zhang and Zhou 2006, doi:10.1109/TKDE.2006.162"
    teaches: ClassVar[tuple[TaskOutput, ...]] = ("flags",)
    kind: Literal["multi-label"] = "multi-label"

    def needs(self) -> Needs:
        return Needs(labels=True)

    def loss(self, x: LossInputs) -> Tensor:
        return multi_label(x.logits_BK, self._flags(x))

    def mask(self, x: LossInputs) -> Tensor:
        known: Tensor = self._flags(x).isfinite().any(dim=1)
        return known.to(x.logits_BK.dtype)

    def _flags(self, x: LossInputs) -> Tensor:
        if x.flags_BK is None:
            raise StoreError(f"{self.kind}: needs the classes of each row; this data has none, or one label a row.")
        return x.flags_BK
