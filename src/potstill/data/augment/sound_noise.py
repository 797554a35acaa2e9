"""Add background noise."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SoundNoiseSpec(AugmentSpec):
    """Add noise at a signal-to-noise ratio drawn between two bounds; clipped to [-1, 1]. A silent clip stays silent."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("audio",)
    kind: Literal["sound-noise"] = "sound-noise"
    lowest_db: float = Field(default=10.0, ge=-20, le=60)
    """Lowest ratio of the clip's energy to the noise's."""
    highest_db: float = Field(default=40.0, ge=-20, le=60)
    """Highest ratio."""
    source: Literal["white", "pink", "rows"] = "pink"
    """white: all frequencies alike; pink: equal energy in every octave; rows: another recording of the same split."""
    p: float = Field(default=1.0, gt=0, le=1)
    """Probability."""

    @model_validator(mode="after")
    def _rising(self) -> SoundNoiseSpec:
        if self.lowest_db > self.highest_db:
            raise ValueError(f"lowest_db must be at most highest_db, {self.highest_db:g}; got {self.lowest_db:g}")
        return self

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        sound = batch.inputs_BX
        num_steps = sound.shape[1]
        u = draw.uniform(3 if self.source == "rows" else 2 + num_steps)
        noise = draw.partners(u[:, 2]).inputs_BX if self.source == "rows" else self._drawn(u[:, 2:])
        noisy = torch.from_numpy(u[:, 0] < self.p)[:, None]
        ratio_db = torch.from_numpy(self.lowest_db + u[:, 1] * (self.highest_db - self.lowest_db)).float()[:, None]
        energy, theirs = (x.square().mean(dim=1, keepdim=True) for x in (sound, noise))
        gain = (energy / theirs.clamp(min=1e-12)).sqrt() * 10 ** (-ratio_db / 20)
        mixed = (sound + gain * noise).clamp(-1, 1)
        return replace(batch, inputs_BX=torch.where(noisy, mixed, sound))

    def _drawn(self, u_BT: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> torch.Tensor:  # type: ignore[name-defined] # noqa: F821
        """Return [B, T] noise of uniform draws: its level is set by the caller."""
        import torch

        noise = u_BT - 0.5
        if self.source == "pink":
            spectrum = np.fft.rfft(noise, axis=1)
            spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1))
            noise = np.fft.irfft(spectrum, n=u_BT.shape[1], axis=1)
        return torch.from_numpy(noise.astype(np.float32))
