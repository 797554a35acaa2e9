"""Move the picture by whole pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry

_MODES = {"zero": "constant", "edge": "replicate", "reflect": "reflect"}


@registry.register
class ShiftSpec(AugmentSpec):
    """Pad and crop: move by up to `pixels` in each direction (He et al. 2015, arXiv:1512.03385, section 4.2)."""

    kind: Literal["shift"] = "shift"
    pixels: int = Field(ge=1, examples=[2])
    """Most pixels moved, up, down, left and right."""
    fill: Literal["zero", "edge", "reflect"] = "zero"
    """What comes in at the border."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch
        from torch.nn.functional import pad

        n = self.pixels
        pixels = batch.inputs_BX
        num, channels, height, width = pixels.shape
        offsets = torch.from_numpy((draw.uniform(2) * (2 * n + 1)).astype("int64"))
        padded = pad(pixels, (n, n, n, n), mode=_MODES[self.fill])
        rows = offsets[:, 0, None] + torch.arange(height)
        columns = offsets[:, 1, None] + torch.arange(width)
        wide = width + 2 * n
        index = (rows[:, :, None] * wide + columns[:, None, :]).view(num, 1, -1).expand(-1, channels, -1)
        moved = padded.view(num, channels, -1).gather(2, index)
        return replace(batch, inputs_BX=moved.view_as(pixels))
