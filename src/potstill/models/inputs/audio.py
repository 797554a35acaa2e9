"""Sound brought to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess


class AudioInput(InputSpec):
    """How sound in [-1, 1] is brought to a model: as it is."""

    kind: Literal["audio"] = "audio"

    def resolved(self, io: ModelIO, stats: DataStats) -> AudioInput:
        self.must_read(io, "input")
        return self

    def preprocess(self, io: ModelIO) -> Preprocess:
        from torch import nn

        from potstill.models.inputs.preprocess import Preprocess

        return Preprocess(nn.Identity())

    def seen(self, io: ModelIO) -> ModelIO:
        return io
