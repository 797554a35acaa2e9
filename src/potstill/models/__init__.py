"""Student and teacher zoo, one family a file. A Spec builds a module; blocks shared by families live in `_blocks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO, io_of
from potstill.models.inputs import AnyInput, AudioInput, ImageInput, InputSpec, SeriesInput, TextInput

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyModel: TypeAlias = ModelSpec
else:
    AnyModel = registry.union()

__all__ = [
    "AnyInput", "AnyModel", "AudioInput", "ImageInput", "InputSpec", "ModelIO", "ModelSpec", "SeriesInput", "TextInput", "io_of", "registry",
]  # fmt: skip
