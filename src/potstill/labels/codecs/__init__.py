"""How teacher outputs are kept in a shard, one codec a file. NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.labels.codecs._base import CodecSpec, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyCodec: TypeAlias = CodecSpec
else:
    AnyCodec = registry.union()

__all__ = ["AnyCodec", "CodecSpec", "registry"]
