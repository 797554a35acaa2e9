"""Pixels in [0, 1] brought to a model: size, then normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec, Steps

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

_STD_FLOOR = 1e-3


class ImageInput(InputSpec):
    """How pixels in [0, 1] are brought to a model; each model states its own."""

    kind: Literal["image"] = "image"
    size: int | None = Field(default=None, ge=1)
    """Height and width in pixels that the model reads; None keeps the data's. Bilinear, antialiased."""
    mean: tuple[float, ...] | None = None
    """Per channel, subtracted; None takes the training split's own mean."""
    std: tuple[float, ...] | None = None
    """Per channel, divided by; None takes the training split's own standard deviation."""

    def resolved(self, io: ModelIO, stats: DataStats) -> ImageInput:
        self.must_read(io, "input")
        mean = stats.mean if self.mean is None else self.mean
        std = tuple(max(s, _STD_FLOOR) for s in (stats.std if self.std is None else self.std))
        for name, value in (("mean", mean), ("std", std)):
            if len(value) != io.channels:
                raise ShapeError(f"input.{name}: must have one number a channel, {io.channels}; got {list(value)}.")
        return self.model_copy(update={"mean": tuple(mean), "std": std})

    def preprocess(self, io: ModelIO) -> Preprocess:
        from potstill.models.inputs.preprocess import Normalise, Resize

        seen = self.seen(io)
        return Resize(Normalise(self.mean or (), self.std or (), 4), (seen.height, seen.width))

    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        seen = self.seen(io)
        resize = {"do": "resize", "height": seen.height, "width": seen.width, "how": "bilinear, antialiased"}
        inside = {"do": "normalise", "mean": list(self.mean or ()), "std": list(self.std or ())}
        return [resize] if seen.shape != io.shape else [], [inside]

    def seen(self, io: ModelIO) -> ModelIO:
        return io if self.size is None else replace(io, shape=(io.channels, self.size, self.size))
