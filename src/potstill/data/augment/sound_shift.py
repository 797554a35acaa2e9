"""Move the sound in time."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SoundShiftSpec(AugmentSpec):
    """Start the sound earlier or later by up to `share` of its length; silence comes in."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("audio",)
    kind: Literal["sound-shift"] = "sound-shift"
    share: float = Field(default=0.1, gt=0, le=0.5)
    """Most that it is moved, of the clip's length, either way."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        sound = batch.inputs_BX
        num_steps = sound.shape[1]
        most = max(1, int(self.share * num_steps))
        by = torch.from_numpy((draw.uniform(1) * (2 * most + 1)).astype("int64") - most)
        source = torch.arange(num_steps)[None, :] - by
        moved = sound.gather(1, source.clamp(0, num_steps - 1))
        return replace(batch, inputs_BX=moved.masked_fill((source < 0) | (source >= num_steps), 0.0))
