"""Student and teacher zoo, one family a file. A Spec builds a module; blocks shared by families live in `_blocks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.models._base import InputSpec, ModelIO, ModelSpec, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyModel: TypeAlias = ModelSpec
else:
    AnyModel = registry.union()

__all__ = ["AnyModel", "InputSpec", "ModelIO", "ModelSpec", "registry"]
