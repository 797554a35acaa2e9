"""A text to another text: the family of translators."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from potstill.core.outputs import TaskOutput
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs.pair import PairInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class EncoderDecoderSpec(ModelSpec):
    """An encoder-decoder Transformer (Vaswani et al. 2017, arXiv:1706.03762), normalised before each layer, that writes one text
    for another; one embedding serves source, target and output."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("tokens",)
    kind: Literal["encoder-decoder"] = "encoder-decoder"
    input: PairInput = Field(default_factory=PairInput)
    """Vocabulary and length that it reads and writes, and how it searches."""
    dim: int = Field(default=128, ge=1, examples=[16])
    """Width of a token, a multiple of `heads`."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    encoder: int = Field(default=2, ge=1)
    """Blocks that read."""
    decoder: int = Field(default=2, ge=1)
    """Blocks that write."""
    mlp_ratio: float = Field(default=2.0, gt=0)
    """Width of the perceptrons' hidden layer as a multiple of `dim`."""
    activation: Literal["relu", "gelu"] = "relu"
    """Of the perceptrons."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of embeddings, and of what each layer adds, left out of each training step."""

    @model_validator(mode="after")
    def _divides(self) -> EncoderDecoderSpec:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads; got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._seq2seq import EncoderDecoder

        return EncoderDecoder(
            io.num_classes, io.steps, dim=self.dim, heads=self.heads, hidden=max(1, int(self.dim * self.mlp_ratio)),
            encoder=self.encoder, decoder=self.decoder, dropout=self.dropout,
            act=nn.ReLU if self.activation == "relu" else nn.GELU,
        )  # fmt: skip
