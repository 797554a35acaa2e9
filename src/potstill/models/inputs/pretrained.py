"""Text brought to a pretrained Transformer: by the tokenizer that it was trained with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.core.spec import InputPath
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec, Steps

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess


class PretrainedInput(InputSpec):
    """How text is brought to a pretrained Transformer: its own tokenizer makes the ids, on the host."""

    kind: Literal["text"] = "text"
    max_tokens: int = Field(default=64, ge=2)
    """Tokens that it reads of a text, its own marks at both ends included; longer texts are cut."""
    folder: InputPath | None = None
    """Where its tokenizer is; the model sets this to its own `path`."""

    def resolved(self, io: ModelIO, stats: DataStats) -> PretrainedInput:
        self.must_read(io, "input")
        if self.folder is None:
            raise ShapeError("input.folder: must name the model's folder; got none. The model's own `path` sets it.")
        return self

    def preprocess(self, io: ModelIO) -> Preprocess:
        from torch import nn

        from potstill.models.inputs.pretrained_tokens import PretrainedTokens

        assert self.folder is not None
        return PretrainedTokens(nn.Identity(), self.folder, self.max_tokens)

    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        name = None if self.folder is None else self.folder.name
        return [{"do": "tokenize", "max_tokens": self.max_tokens, "padding": 0, "tokenizer_of": name}], []

    def seen(self, io: ModelIO) -> ModelIO:
        return replace(io, shape=(self.max_tokens,), dtype="int32")
