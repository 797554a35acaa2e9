"""Noise on a series."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SeriesJitterSpec(AugmentSpec):
    """Add normal noise to every step (Um et al. 2017, arXiv:1706.00527); a variable that is constant in a window stays so."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("series",)
    kind: Literal["series-jitter"] = "series-jitter"
    sigma: float = Field(default=0.05, gt=0)
    """Standard deviation of the noise, as a share of that of the variable in its window."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        x = batch.inputs_BX
        num, variables, steps = x.shape
        # Two uniforms make one normal (Box and Muller 1958); the first is kept off 0.
        two = torch.from_numpy(draw.uniform(2 * variables * steps)).view(num, 2, variables, steps)
        noise = (-2 * torch.log1p(-two[:, 0])).sqrt() * torch.cos(2 * torch.pi * two[:, 1])
        spread = x.double().std(dim=2, keepdim=True, correction=0)
        return replace(batch, inputs_BX=x + (self.sigma * spread * noise).float())
