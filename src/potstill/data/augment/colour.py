"""Change light and colour."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class ColourSpec(AugmentSpec):
    """Scale brightness, contrast and, with three channels, saturation by factors around 1; clipped to [0, 1]."""

    kind: Literal["colour"] = "colour"
    brightness: float = Field(default=0.2, ge=0, lt=1)
    """Factor drawn from 1 - b to 1 + b."""
    contrast: float = Field(default=0.2, ge=0, lt=1)
    """Likewise, about the picture's mean grey."""
    saturation: float = Field(default=0.2, ge=0, lt=1)
    """Likewise, about each pixel's own grey; unused with one channel."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        factors = torch.from_numpy(draw.uniform(3) * 2 - 1).float()[:, :, None, None, None]
        brightness, contrast, saturation = (
            1 + factors[:, i] * limit for i, limit in enumerate((self.brightness, self.contrast, self.saturation))
        )
        pixels = (batch.inputs_BX * brightness).clamp(0, 1)
        grey = pixels
        if pixels.shape[1] == 3:
            weights = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]  # ITU-R BT.601 luma
            grey = (pixels * weights).sum(dim=1, keepdim=True)
            pixels = (grey + (pixels - grey) * saturation).clamp(0, 1)
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        return replace(batch, inputs_BX=(mean + (pixels - mean) * contrast).clamp(0, 1))
