"""The mel scale, on which equal steps sound alike, and spectrograms on it. NumPy only. Shapes: B rows, T samples, F frames, M bands,
K frequencies.

Reference: O'Shaughnessy 1987, Speech Communication, p. 150: 2595 log10(1 + f / 700).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-6
"""Added to a band's energy before the logarithm; full scale is about window² / 16."""


@dataclass(frozen=True)
class MelSpectrum:
    """log(energy of each mel band + 1e-6) of Hann-windowed frames, no padding at the ends; or, with a range, the energy relative to the
    clip's loudest, floored at so many decibels below it and brought from there to [-1, 1]."""

    rate_hz: int
    window: int
    """Samples of a frame, which is also the length of its Fourier transform."""
    hop: int
    """Samples from one frame to the next."""
    mels: int
    """Bands: triangles of height 1, evenly spaced in mel, not scaled by area."""
    low_hz: float
    high_hz: float
    range_db: float | None
    """None for log energy as it is."""

    @cached_property
    def bands(self) -> NDArray[np.float64]:
        """The weight of each frequency of the transform in each band, [window // 2 + 1, M]."""
        low, high = to_mel([self.low_hz, self.high_hz])
        edges = to_hz(np.linspace(low, high, self.mels + 2))
        hz = np.arange(self.window // 2 + 1) * self.rate_hz / self.window
        rising = (hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
        out: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
        return out

    @cached_property
    def hann(self) -> NDArray[np.float64]:
        """The window, [window]."""
        out: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        return out

    @property
    def floor(self) -> float | None:
        """Least relative energy, as a share; None without a range."""
        return None if self.range_db is None else float(10 ** (-self.range_db / 10))

    def __call__(self, x_BT: NDArray[Any]) -> NDArray[np.float32]:
        """Return [B, 1, F, M] of samples in [-1, 1], [B, T], T at least `window`."""
        frames = np.lib.stride_tricks.sliding_window_view(x_BT, self.window, axis=1)[:, :: self.hop]
        power = np.abs(np.fft.rfft(frames * self.hann, axis=2)) ** 2
        energy = (power @ self.bands)[:, None]
        if self.floor is None:
            return np.log(energy + FLOOR).astype(np.float32)
        relative = energy / (energy.max(axis=(1, 2, 3), keepdims=True) + FLOOR)
        out: NDArray[np.float32] = (np.log(relative + self.floor) * (-2 / np.log(self.floor)) + 1).astype(np.float32)
        return out

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def to_mel(hz: Any) -> NDArray[np.float64]:
    """Return mel of frequencies in Hz, >= 0."""
    out: NDArray[np.float64] = 2595 * np.log10(1 + np.asarray(hz, np.float64) / 700)
    return out


def to_hz(mel: Any) -> NDArray[np.float64]:
    """Return frequencies in Hz of mel, >= 0."""
    out: NDArray[np.float64] = 700 * (10 ** (np.asarray(mel, np.float64) / 2595) - 1)
    return out


def mel_shares(num: int) -> NDArray[np.float64]:
    """Return [num] in [0, 1): the place on the scale of each of `num` frequencies of a transform, as if they were those of telephone
    speech, 0 to 4 kHz, stretched to all there are."""
    return to_mel(np.arange(num) / num * 4000) / to_mel(4000)
