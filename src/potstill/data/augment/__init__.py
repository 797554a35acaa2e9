"""Batched, counter-based augmentation: each draw is a pure function of (seed, sample id, view, op). One op a file.

Teacher and student see the same pixels because they ask for the same (rows, view).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.data.augment._base import AugmentSpec, Batch, registry
from potstill.data.augment._batch import make_batch

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyAugment: TypeAlias = AugmentSpec
else:
    AnyAugment = registry.union()

__all__ = ["AnyAugment", "AugmentSpec", "Batch", "make_batch", "registry"]
