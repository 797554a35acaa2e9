"""SpecAugment on the samples themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.mel import mel_shares
from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class SoundMaskSpec(AugmentSpec):
    """Silence a stretch of time and stop a band of frequencies (after SpecAugment, Park et al. 2019, arXiv:1904.08779).

    Departs: SpecAugment masks the spectrogram of one model. Here the samples are changed, so that teacher and student, whose
    rates and spectrograms may differ, still see the same sound: a stretch of it is silent, and a band is cut out by a Fourier
    transform of the whole clip. A spectrogram's own floor shows there, not its mean.
    """

    reads: ClassVar[tuple[SampleKind, ...]] = ("audio",)
    kind: Literal["sound-mask"] = "sound-mask"
    time: float = Field(default=0.15, ge=0, lt=1)
    """Largest share of the clip that is silenced; the share is drawn from 0 to it."""
    band: float = Field(default=0.2, ge=0, lt=1)
    """Largest share of the mel scale that is stopped; likewise."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        sound = batch.inputs_BX
        num_steps, u = sound.shape[1], draw.uniform(4)
        width = u[:, 0] * self.time * num_steps
        start = u[:, 1] * (num_steps - width)
        at = np.arange(num_steps) + 0.5
        silent = (at >= start[:, None]) & (at < (start + width)[:, None])
        kept = np.where(silent, 0.0, sound.numpy())
        spectrum = np.fft.rfft(kept, axis=1)
        mel = mel_shares(spectrum.shape[1])
        share = u[:, 2] * self.band
        low = u[:, 3] * (1 - share)
        spectrum[(mel >= low[:, None]) & (mel < (low + share)[:, None])] = 0
        out = np.fft.irfft(spectrum, n=num_steps, axis=1).astype(np.float32)
        return replace(batch, inputs_BX=torch.from_numpy(out).clamp_(-1, 1))
