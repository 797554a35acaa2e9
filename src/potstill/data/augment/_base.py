"""What an augmentation is. Shapes: B rows, C channels, H, W pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from potstill.core.spec import Registry, Spec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PixelBatch:
    """Rows of one view, ready for a model's own preprocessing."""

    pixels_BCHW: Tensor
    """float32 in [0, 1]."""
    labels_B: Tensor
    """int64; -1 where a row has no label, or one that is hidden."""
    partner_labels_B: Tensor | None = None
    """Labels of the rows mixed in; None without mixup."""
    mix_B: Tensor | None = None
    """Share of the row itself, (0, 1] float32; None without mixup."""


@dataclass(frozen=True)
class Draw:
    """Randomness for one op on one batch."""

    uniform: Callable[[int], NDArray[Any]]
    """num -> [B, num] float64 in [0, 1)."""
    partners: Callable[[NDArray[Any]], PixelBatch]
    """[B] uniform draws -> the plain batch of other rows of the split that they pick."""


class AugmentSpec(Spec, ABC):
    """One operation on pixels."""

    kind: str

    @abstractmethod
    def apply(self, batch: PixelBatch, draw: Draw) -> PixelBatch:
        """Return the batch changed; nothing but `draw` may be random."""


registry: Registry[AugmentSpec] = Registry("augmentations")
