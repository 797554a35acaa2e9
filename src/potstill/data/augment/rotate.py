"""Turn the picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class RotateSpec(AugmentSpec):
    """Turn by up to `degrees` either way around the middle, bilinear, black outside."""

    kind: Literal["rotate"] = "rotate"
    degrees: float = Field(gt=0, le=180, examples=[15.0])
    """Largest angle."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        pixels = batch.inputs_BX
        height, width = pixels.shape[2:]
        angle = torch.from_numpy((draw.uniform(1)[:, 0] * 2 - 1) * math.radians(self.degrees)).float()
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # In grid units a pixel is 2/W wide and 2/H high: the ratio keeps circles round.
        top = torch.stack([cos, -sin * height / width, zero], 1)
        bottom = torch.stack([sin * width / height, cos, zero], 1)
        grid = affine_grid(torch.stack([top, bottom], 1), list(pixels.shape), align_corners=False)
        turned = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return replace(batch, inputs_BX=turned)
