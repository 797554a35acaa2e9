"""Larger and smaller swings of a series."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SeriesScaleSpec(AugmentSpec):
    """Scale each variable about its mean in the window (Um et al. 2017, arXiv:1706.00527), and what is to be forecast with it."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("series",)
    kind: Literal["series-scale"] = "series-scale"
    range: float = Field(default=0.2, gt=0, lt=1)
    """Factor drawn from 1 - range to 1 + range."""
    each: bool = False
    """A factor of its own for each variable; false: one a window."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        x = batch.inputs_BX
        num, variables, _ = x.shape
        drawn = torch.from_numpy(draw.uniform(variables if self.each else 1)).view(num, -1, 1)
        factor = (1 + self.range * (2 * drawn - 1)).float()
        mean = x.mean(dim=2, keepdim=True)
        targets = batch.targets_BX
        if targets is not None:
            if targets.shape[2] != variables:
                raise ShapeError(f"series-scale: must see the variables that are forecast, all of them and no others; got "
                                 f"{variables} seen and {targets.shape[2]} forecast. Leave it out of augment.")  # fmt: skip
            middle = mean.transpose(1, 2)
            targets = middle + factor.transpose(1, 2) * (targets - middle)
        return replace(batch, inputs_BX=mean + factor * (x - mean), targets_BX=targets)
