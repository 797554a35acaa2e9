"""Cover part of the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class EraseSpec(AugmentSpec):
    """Replace a rectangle by mid-grey with probability `p` (Zhong et al. 2017, arXiv:1708.04896)."""

    kind: Literal["erase"] = "erase"
    p: float = Field(default=0.5, gt=0, le=1)
    """Probability."""
    largest: float = Field(default=0.33, gt=0, lt=1)
    """Most of the picture's area that is covered; at least 0.02 of it is."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        pixels = batch.inputs_BX
        height, width = pixels.shape[2:]
        u = torch.from_numpy(draw.uniform(5)).float()
        area = 0.02 + u[:, 1] * max(self.largest - 0.02, 0.0)
        aspect = (0.3 ** (1 - 2 * u[:, 2])).sqrt()
        tall, wide = (area.sqrt() * aspect).clamp(max=1) * height, (area.sqrt() / aspect).clamp(max=1) * width
        top, left = u[:, 3] * (height - tall), u[:, 4] * (width - wide)
        y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        inside_y = (y >= top[:, None]) & (y < (top + tall)[:, None])
        inside_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
        covered = inside_y[:, None, :, None] & inside_x[:, None, None, :] & (u[:, 0] < self.p)[:, None, None, None]
        return replace(batch, inputs_BX=pixels.masked_fill(covered, 0.5))
