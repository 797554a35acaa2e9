"""Sources -> one memory-mapped array with digests, splits and batched augmentation. One source a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyData: TypeAlias = DataSpec
else:
    AnyData = registry.union()

__all__ = ["AnyData", "Chunk", "DataSpec", "Source", "SplitReader", "registry"]
