"""Sound brought to a model: rate on the host, log-mel spectrogram inside the model. NumPy only until `preprocess`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.mel import MelSpectrum
from potstill.core.samples import DataStats
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec, Steps

if TYPE_CHECKING:
    from torch import nn

    from potstill.models.inputs.preprocess import Preprocess

_MOST_PHASES = 1000


class AudioInput(InputSpec):
    """How sound in [-1, 1] is brought to a model: as a picture of log-mel energies, one channel, frames by bands; or as it is."""

    kind: Literal["audio"] = "audio"
    features: Literal["log-mel", "wave"] = "log-mel"
    """What the model reads: the spectrogram, whose computation is exported with the model, or the samples themselves."""
    rate_hz: int | None = Field(default=None, ge=1000, le=192_000)
    """Samples a second that the model reads; None keeps the data's. The host resamples (windowed sinc)."""
    mels: int = Field(default=40, ge=4, le=256)
    """Bands of the spectrogram."""
    window_ms: float = Field(default=32.0, gt=0, le=1000)
    """Length of one frame, which is also that of its Fourier transform."""
    hop_ms: float = Field(default=16.0, gt=0, le=1000)
    """From the start of a frame to the next."""
    low_hz: float = Field(default=50.0, ge=0)
    """Lower edge of the lowest band."""
    high_hz: float | None = Field(default=None, gt=0)
    """Upper edge of the highest band; None takes half the rate."""
    range_db: float | None = Field(default=50.0, gt=0, le=120)
    """Energies are taken relative to the clip's loudest, and end this far below it, so that neither loudness nor a quiet room's
    noise matters; None takes log energy as it is."""
    scale: float = Field(default=1.0, gt=0)
    """Of `wave`: the samples are multiplied by it; 32768 for a model that reads the range of 16-bit integers."""

    def resolved(self, io: ModelIO, stats: DataStats) -> AudioInput:
        self.must_read(io, "input")
        if io.rate_hz is None or not float(io.rate_hz).is_integer():
            raise ShapeError(
                f"input.rate_hz: data must say its rate as a whole number of Hz; got {io.rate_hz}. Set it in data."
            )
        rate = self.rate_hz or int(io.rate_hz)
        up, _ = ratio(int(io.rate_hz), rate)
        if up > _MOST_PHASES:
            raise ShapeError(f"input.rate_hz: must have a common part with the data's rate, so that at most {_MOST_PHASES} filters "
                             f"do; got {rate} of {io.rate_hz:g}. Try {round(rate, -3)}.")  # fmt: skip
        found = self.model_copy(update={"rate_hz": rate, "high_hz": self.high_hz or rate / 2})
        if self.features == "log-mel":
            found._check_bands(io)
        return found

    def preprocess(self, io: ModelIO) -> Preprocess:
        from potstill.models.inputs.sound import LogMel, Resample, Scale

        assert io.rate_hz is not None and self.rate_hz is not None
        inside: nn.Module = Scale(self.scale)
        if self.features == "log-mel":
            inside = LogMel(self.spectrum())
        return Resample(inside, int(io.rate_hz), self.rate_hz)

    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        resample = {
            "do": "resample",
            "from_hz": io.rate_hz,
            "to_hz": self.rate_hz,
            "how": "windowed sinc, Kaiser 5, 10 zero crossings",
        }
        inside = {"do": "scale", "by": self.scale}
        if self.features == "log-mel":
            inside = {"do": "log-mel", **self.spectrum().as_dict()}
        return [resample] if io.rate_hz != self.rate_hz else [], [inside] if inside != {
            "do": "scale",
            "by": 1.0,
        } else []

    def seen(self, io: ModelIO) -> ModelIO:
        steps = self._steps(io)
        if self.features == "log-mel":
            return replace(
                io, shape=(1, 1 + (steps - self.window) // self.hop, self.mels), rate_hz=float(self.rate_hz or 0)
            )
        return replace(io, shape=(steps,), rate_hz=float(self.rate_hz or 0))

    def spectrum(self) -> MelSpectrum:
        """Return the numbers of the spectrogram; of a resolved input."""
        assert self.rate_hz is not None and self.high_hz is not None
        return MelSpectrum(self.rate_hz, self.window, self.hop, self.mels, self.low_hz, self.high_hz, self.range_db)

    @property
    def window(self) -> int:
        """Samples of one frame; of a resolved input."""
        return max(2, round(self.window_ms * (self.rate_hz or 0) / 1000))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next; of a resolved input."""
        return max(1, round(self.hop_ms * (self.rate_hz or 0) / 1000))

    def _steps(self, io: ModelIO) -> int:
        """Return how many samples the model's clip has."""
        up, down = ratio(int(io.rate_hz or 0), self.rate_hz or 0)
        return -(-io.shape[0] * up // down)

    def _check_bands(self, io: ModelIO) -> None:
        rate, high = self.rate_hz or 0, self.high_hz or 0.0
        if not self.low_hz < high <= rate / 2:
            raise ShapeError(f"input.high_hz: must be above low_hz {self.low_hz:g} and at most half the rate, {rate / 2:g}; got "
                             f"{high:g}.")  # fmt: skip
        if self._steps(io) < self.window:
            raise ShapeError(f"input.window_ms: must be at most the clip, {1000 * self._steps(io) / rate:g} ms; got "
                             f"{self.window_ms:g}. Shorten it, or make data.seconds larger.")  # fmt: skip
        empty = np.flatnonzero(~self.spectrum().bands.any(axis=0))
        if len(empty):
            raise ShapeError(f"input.mels: every band must hold a frequency of the transform; band {empty[0]} of {self.mels} holds "
                             f"none. Lower mels, or lengthen window_ms {self.window_ms:g}.")  # fmt: skip


def ratio(from_hz: int, to_hz: int) -> tuple[int, int]:
    """Return (up, down) without a common factor: from_hz · up / down = to_hz."""
    common = math.gcd(from_hz, to_hz)
    return to_hz // common, from_hz // common
