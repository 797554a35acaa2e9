"""What an augmentation is. Shapes: B rows, X the shape of one input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from potstill.core.samples import SampleKind
from potstill.core.spec import Registry, Spec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of one view, ready for a model's own preprocessing."""

    inputs_BX: Tensor
    """[B, C, H, W] float32 in [0, 1], [B, V, T] float32, [B, T] float32 in [-1, 1] or [B, L] uint8, by the kind of sample."""
    labels_B: Tensor
    """int64; -1 where a row has no label, or one that is hidden."""
    partner_labels_B: Tensor | None = None
    """Labels of the rows mixed in; None without mixup."""
    mix_B: Tensor | None = None
    """Share of the row itself, (0, 1] float32; None without mixup."""
    targets_BX: Tensor | None = None
    """float32: [B, H, V], the true values of a forecast, or [B, K] of 0 and 1; NaN where a row has none. uint8 [B, L], the text to
    be written; zero where a row has none. None where the data has no such targets."""
    weights_B: Tensor | None = None
    """float32 > 0, what a row counts; None where the data has no weights."""


@dataclass(frozen=True)
class Draw:
    """Randomness for one op on one batch."""

    uniform: Callable[[int], NDArray[Any]]
    """num -> [B, num] float64 in [0, 1)."""
    partners: Callable[[NDArray[Any]], Batch]
    """[B] uniform draws -> the plain batch of other rows of the split that they pick."""


class AugmentSpec(Spec, ABC):
    """One operation on samples."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("image",)
    """The kinds of sample that it can change."""
    kind: str

    @abstractmethod
    def apply(self, batch: Batch, draw: Draw) -> Batch:
        """Return the batch changed; nothing but `draw` may be random."""


registry: Registry[AugmentSpec] = Registry("augmentations")
