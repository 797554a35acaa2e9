"""Play the sound faster or slower."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SoundSpeedSpec(AugmentSpec):
    """Play faster or slower by up to `share` about the middle: pitch and length change together, as other voices do (Ko et
    al. 2015, doi:10.21437/Interspeech.2015-711). Linear between samples."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("audio",)
    kind: Literal["sound-speed"] = "sound-speed"
    share: float = Field(default=0.15, gt=0, le=0.5)
    """Factor drawn from 1 - share to 1 + share; what lies outside the clip is lost, or is silence."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        sound = batch.inputs_BX
        num_steps = sound.shape[1]
        factor = torch.from_numpy(1 + (draw.uniform(1) * 2 - 1) * self.share)
        middle = (num_steps - 1) / 2
        at = (torch.arange(num_steps, dtype=torch.float64) - middle) * factor + middle
        left = at.floor()
        part = (at - left).float()
        index = left.long()
        found = [
            sound.gather(1, i.clamp(0, num_steps - 1)).masked_fill((i < 0) | (i >= num_steps), 0.0)
            for i in (index, index + 1)
        ]
        return replace(batch, inputs_BX=found[0] * (1 - part) + found[1] * part)
