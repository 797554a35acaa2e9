"""Attention over tokens: the text student that has places for attention objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import TextInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class TextTransformerSpec(ModelSpec):
    """A small Transformer encoder (Vaswani et al. 2017, arXiv:1706.03762), normalised before each layer; padding is masked in
    its attention, and its tokens are pooled: maximum and mean."""

    kind: Literal["text-transformer"] = "text-transformer"
    input: TextInput = Field(default_factory=TextInput)
    """Vocabulary and length that it reads."""
    dim: int = Field(default=96, ge=1)
    """Width of a token."""
    depth: int = Field(default=2, ge=1)
    """Blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    mlp_ratio: float = Field(default=2.0, gt=0)
    """Width of the perceptron's hidden layer as a multiple of `dim`."""
    activation: Literal["relu", "gelu"] = "relu"
    """Of the perceptron."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of embeddings, and of pooled values, left out of each training step."""

    @model_validator(mode="after")
    def _divides(self) -> TextTransformerSpec:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads; got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._text import TextTransformer

        return TextTransformer(
            self.input.vocabulary_size, io.num_classes, io.steps, dim=self.dim, depth=self.depth, heads=self.heads,
            hidden=max(1, int(self.dim * self.mlp_ratio)), dropout=self.dropout,
            act=nn.ReLU if self.activation == "relu" else nn.GELU,
        )  # fmt: skip
