"""Series brought to a model: normalisation, by the training split or by the window itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

_STD_FLOOR = 1e-6


class SeriesInput(InputSpec):
    """How series are brought to a model: (x - mean) / std of each variable."""

    kind: Literal["series"] = "series"
    mean: tuple[float, ...] | None = None
    """Per variable, subtracted; None takes the training split's own mean."""
    std: tuple[float, ...] | None = None
    """Per variable, divided by; None takes the training split's own standard deviation."""

    def resolved(self, io: ModelIO, stats: DataStats) -> SeriesInput:
        self.must_read(io, "input")
        mean = stats.mean if self.mean is None else self.mean
        std = tuple(max(s, _STD_FLOOR) for s in (stats.std if self.std is None else self.std))
        for name, value in (("mean", mean), ("std", std)):
            if len(value) != io.channels:
                raise ShapeError(f"input.{name}: must have one number a variable, {io.channels}; got {list(value)}.")
        return self.model_copy(update={"mean": tuple(mean), "std": std})

    def preprocess(self, io: ModelIO) -> Preprocess:
        from potstill.models.inputs.preprocess import Normalise, Preprocess

        return Preprocess(Normalise(self.mean or (), self.std or (), 3))

    def seen(self, io: ModelIO) -> ModelIO:
        return io
