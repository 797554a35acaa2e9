"""Series brought to a model: normalisation, by the training split or by the window itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec, Steps

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

_STD_FLOOR = 1e-6


class SeriesInput(InputSpec):
    """How series are brought to a model: (x - mean) / std of each variable, of the training split or of the window."""

    kind: Literal["series"] = "series"
    mean: tuple[float, ...] | None = None
    """Per variable, subtracted; None takes the training split's own mean."""
    std: tuple[float, ...] | None = None
    """Per variable, divided by; None takes the training split's own standard deviation."""
    by_window: tuple[int, ...] | Literal["all"] = ()
    """Variables, by their number from 0, from which each window's own mean is taken instead, and which its own standard
    deviation divides: level and size, of another sensor or another person, are lost. A tenth of `std` is added under the root,
    so that a window at rest does not become noise; a variable that is constant in its window would become 0."""

    def resolved(self, io: ModelIO, stats: DataStats) -> SeriesInput:
        self.must_read(io, "input")
        mean = stats.mean if self.mean is None else self.mean
        std = tuple(max(s, _STD_FLOOR) for s in (stats.std if self.std is None else self.std))
        for name, value in (("mean", mean), ("std", std)):
            if len(value) != io.channels:
                raise ShapeError(f"input.{name}: must have one number a variable, {io.channels}; got {list(value)}.")
        own = tuple(range(io.channels)) if self.by_window == "all" else self.by_window
        if len(set(own)) != len(own) or not all(0 <= v < io.channels for v in own):
            raise ShapeError(f"input.by_window: must be variables in 0..{io.channels - 1}, each once; got {list(own)}.")
        return self.model_copy(update={"mean": tuple(mean), "std": std, "by_window": own})

    def preprocess(self, io: ModelIO) -> Preprocess:
        from potstill.models.inputs.preprocess import Normalise, NormaliseWindow, Preprocess

        mean, std = self.mean or (), self.std or ()
        if not self.by_window:
            return Preprocess(Normalise(mean, std, 3))
        return Preprocess(NormaliseWindow(mean, std, [v in self.by_window for v in range(len(mean))]))

    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        numbers = {"mean": list(self.mean or ()), "std": list(self.std or ())}
        if not self.by_window:
            return [], [{"do": "normalise", **numbers}]
        return [], [{"do": "normalise-window", **numbers, "variables": list(self.by_window)}]

    def seen(self, io: ModelIO) -> ModelIO:
        return io
