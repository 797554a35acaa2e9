"""A Transformer over patches of a series, for forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from potstill.core.errors import ShapeError
from potstill.core.outputs import TaskOutput
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import SeriesInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class PatchTransformerSpec(ModelSpec):
    """PatchTST (Nie et al. 2023, arXiv:2211.14730): each variable alone, in patches, through one Transformer; forecasts only."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("values",)
    kind: Literal["patch-transformer"] = "patch-transformer"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model; it normalises each window once more, and scales its forecast back."""
    patch: int = Field(default=16, ge=1, examples=[4])
    """Steps in a patch."""
    stride: int = Field(default=8, ge=1, examples=[2])
    """Steps between the beginnings of two patches."""
    dim: int = Field(default=16, ge=1)
    """Width of a token, a multiple of `heads`."""
    depth: int = Field(default=3, ge=1)
    """Blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    hidden: int = Field(default=128, ge=1)
    """Width of the perceptron's hidden layer."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the embedded and of the flattened values dropped while training."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the perceptron; TFLite Micro has no GELU."""

    @model_validator(mode="after")
    def _divides(self) -> PatchTransformerSpec:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads; got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._series import Forecaster, PatchForecaster

        if io.steps < self.patch:
            raise ShapeError(
                f"patch-transformer: needs at least patch={self.patch} steps; got {io.steps}. Lower patch."
            )
        one = PatchForecaster(
            io.steps, Forecaster.horizon(io, "patch-transformer"), patch=self.patch, stride=self.stride, dim=self.dim,
            depth=self.depth, heads=self.heads, hidden=self.hidden, dropout=self.dropout,
            act=nn.GELU if self.activation == "gelu" else nn.ReLU,
        )  # fmt: skip
        return Forecaster(one, "window")
