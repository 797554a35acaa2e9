"""How samples are brought to models, one kind of sample a file. What runs in torch is in `preprocess`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from potstill.models.inputs._base import InputSpec
from potstill.models.inputs.audio import AudioInput
from potstill.models.inputs.image import ImageInput
from potstill.models.inputs.series import SeriesInput
from potstill.models.inputs.text import TextInput


def _kind(value: Any) -> str:
    """Return the kind that is meant: image where none is stated."""
    stated = value.get("kind", "image") if isinstance(value, dict) else getattr(value, "kind", "image")
    return str(stated)


if TYPE_CHECKING:
    from typing import TypeAlias

    AnyInput: TypeAlias = InputSpec
else:
    AnyInput = Annotated[
        Annotated[ImageInput, Tag("image")] | Annotated[SeriesInput, Tag("series")]
        | Annotated[AudioInput, Tag("audio")] | Annotated[TextInput, Tag("text")],
        Discriminator(_kind),
    ]  # fmt: skip

__all__ = ["AnyInput", "AudioInput", "ImageInput", "InputSpec", "SeriesInput", "TextInput"]
