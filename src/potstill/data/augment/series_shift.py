"""A window that begins earlier or later."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SeriesShiftSpec(AugmentSpec):
    """Move the window by up to `steps`; the end that is uncovered repeats the last value there."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("series",)
    kind: Literal["series-shift"] = "series-shift"
    steps: int = Field(ge=1, examples=[2])
    """Most steps moved, earlier or later."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        if batch.targets_BX is not None:
            raise ShapeError("series-shift: must not be used where values are forecast: what follows a moved window is not what "
                             "the targets say. Leave it out of augment.")  # fmt: skip
        x = batch.inputs_BX
        length = x.shape[2]
        moved = torch.from_numpy((draw.uniform(1) * (2 * self.steps + 1)).astype("int64")) - self.steps
        index = (torch.arange(length)[None, :] + moved).clamp(0, length - 1)
        return replace(batch, inputs_BX=x.gather(2, index[:, None, :].expand_as(x)))
