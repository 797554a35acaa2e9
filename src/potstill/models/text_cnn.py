"""Convolutions over tokens: the fastest text student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import TextInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class TextCnnSpec(ModelSpec):
    """Convolutions of several widths over embeddings, side by side, pooled over a text (Kim 2014, arXiv:1408.5882); here the
    mean stands beside the maximum."""

    kind: Literal["text-cnn"] = "text-cnn"
    input: TextInput = Field(default_factory=TextInput)
    """Vocabulary and length that it reads."""
    dim: int = Field(default=96, ge=1)
    """Width of a token."""
    width: int = Field(default=96, ge=1)
    """Filters of each kernel size."""
    kernels: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    """Tokens that the filters see at once."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of embeddings, and of pooled values, left out of each training step."""

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._text import TextCnn

        return TextCnn(
            self.input.vocabulary_size, io.num_classes, dim=self.dim, width=self.width, kernels=self.kernels,
            dropout=self.dropout,
        )  # fmt: skip
