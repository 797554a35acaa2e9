"""How samples are brought to models, one kind of sample a file. What runs in torch is in `preprocess`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from potstill.models.inputs._base import InputSpec
from potstill.models.inputs.audio import AudioInput
from potstill.models.inputs.image import ImageInput
from potstill.models.inputs.pair import PairInput
from potstill.models.inputs.series import SeriesInput
from potstill.models.inputs.text import TextInput


def _kind(value: Any) -> str:
    """Return the input that is meant: for pictures where no kind is stated, for pairs of texts where the model writes."""
    stated = (
        value if isinstance(value, dict) else {n: getattr(value, n) for n in ("kind", "writes") if hasattr(value, n)}
    )
    return "pair" if stated.get("writes") is True else str(stated.get("kind", "image"))


def _planar(value: Any) -> Any:
    """Refuse what gives a model of pictures, [B, C, H, W], something else."""
    if getattr(value, "features", "log-mel") != "log-mel":
        raise ValueError(f"features must be log-mel for a model that reads pictures; got {value.features!r}")
    return value


if TYPE_CHECKING:
    from typing import TypeAlias

    AnyInput: TypeAlias = InputSpec
    PlanarInput: TypeAlias = InputSpec
else:
    PlanarInput = Annotated[
        Annotated[ImageInput, Tag("image")] | Annotated[AudioInput, Tag("audio")], Discriminator(_kind),
        AfterValidator(_planar),
    ]  # fmt: skip
    AnyInput = Annotated[
        Annotated[ImageInput, Tag("image")] | Annotated[SeriesInput, Tag("series")]
        | Annotated[AudioInput, Tag("audio")] | Annotated[TextInput, Tag("text")] | Annotated[PairInput, Tag("pair")],
        Discriminator(_kind),
    ]  # fmt: skip

__all__ = ["AnyInput", "AudioInput", "ImageInput", "InputSpec", "PairInput", "PlanarInput", "SeriesInput", "TextInput"]
