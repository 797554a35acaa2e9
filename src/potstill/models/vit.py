"""A small vision Transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from potstill.core.errors import ShapeError
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ViTSpec(ModelSpec):
    """Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) that averages its tokens, with own attention."""

    kind: Literal["vit"] = "vit"
    patch: int = Field(default=4, ge=1)
    """Height and width of a patch in pixels; the picture's must be a multiple."""
    dim: int = Field(default=64, ge=1, examples=[16])
    """Token width, a multiple of `heads`."""
    depth: int = Field(default=4, ge=1, examples=[2])
    """Blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    mlp_ratio: float = Field(default=2.0, gt=0)
    """Width of the perceptron's hidden layer as a multiple of `dim`."""
    activation: Literal["relu", "gelu"] = "relu"
    """Of the perceptron; TFLite Micro has no GELU."""

    @model_validator(mode="after")
    def _divides(self) -> ViTSpec:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads; got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._blocks import ViT

        if io.height % self.patch or io.width % self.patch:
            raise ShapeError(f"vit: pixels must be a multiple of patch={self.patch}; got {io.height}×{io.width}. Set "
                             "input.size, or another patch.")  # fmt: skip
        return ViT(
            io.channels, (io.height // self.patch) * (io.width // self.patch), io.num_classes, patch=self.patch,
            dim=self.dim, depth=self.depth, heads=self.heads, hidden=max(1, int(self.dim * self.mlp_ratio)),
            act=nn.ReLU if self.activation == "relu" else nn.GELU,
        )  # fmt: skip

    def for_mcu(self) -> bool:
        return self.activation == "relu"
