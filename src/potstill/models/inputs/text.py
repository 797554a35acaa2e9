"""Text brought to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess


class TextInput(InputSpec):
    """How UTF-8 bytes are brought to a model: as they are."""

    kind: Literal["text"] = "text"

    def resolved(self, io: ModelIO, stats: DataStats) -> TextInput:
        self.must_read(io, "input")
        return self

    def preprocess(self, io: ModelIO) -> Preprocess:
        from torch import nn

        from potstill.models.inputs.preprocess import Preprocess

        return Preprocess(nn.Identity())

    def seen(self, io: ModelIO) -> ModelIO:
        return io
