"""Mirror the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class FlipSpec(AugmentSpec):
    """Mirror left and right with probability `p`."""

    kind: Literal["flip"] = "flip"
    p: float = Field(default=0.5, gt=0, le=1)
    """Probability."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        mirrored = torch.from_numpy(draw.uniform(1)[:, 0] < self.p)[:, None, None, None]
        pixels = batch.inputs_BX
        return replace(batch, inputs_BX=torch.where(mirrored, pixels.flip(3), pixels))
