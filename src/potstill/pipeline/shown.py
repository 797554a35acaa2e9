"""Test samples as a person looks at them in the report, one way a kind. Shapes: T steps, V variables, F frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.samples import SampleKind
from potstill.data.dataset import text_of

_POINTS = 160
"""Most points of a drawn series, and columns of a spectrogram."""
_VARIABLES = 6
_BANDS = 64
_WINDOW_S = 0.025
_RANGE_DB = 70.0


def shown(kind: SampleKind, sample: NDArray[Any], rate_hz: float | None) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Return (what results.json keeps of a sample, its picture [H, W, C] uint8 where it is shown as one).

    Pictures are shown as they are, sound as a spectrogram, series as lines ("values": a list a variable, thinned), text as
    it is ("text").
    """
    if kind == "image":
        return {}, sample
    if kind == "audio":
        assert rate_hz is not None
        return {"seconds": round(len(sample) / rate_hz, 3)}, spectrogram(sample, rate_hz)
    if kind == "series":
        thin = np.unique(np.linspace(0, len(sample) - 1, _POINTS).astype(int))
        lines = sample[thin, :_VARIABLES].T
        return {"values": [[float(f"{v:.4g}") for v in line] for line in lines]}, None
    return {"text": text_of(sample)}, None


def spectrogram(sound_T: NDArray[Any], rate_hz: float) -> NDArray[np.uint8]:
    """Return [F, T', 3] uint8: power over time, low frequencies at the bottom, 70 dB from dark to bright."""
    window = max(32, int(_WINDOW_S * rate_hz))
    hop = max(1, (len(sound_T) - window) // _POINTS)
    starts = np.arange(0, max(1, len(sound_T) - window + 1), hop)
    padded = np.pad(sound_T.astype(np.float64), (0, max(0, window - len(sound_T))))
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    bands = np.linspace(0, power.shape[1], min(_BANDS, power.shape[1]) + 1).astype(int)
    level = 10 * np.log10(np.add.reduceat(power, bands[:-1], axis=1) + 1e-9)
    shade = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1).T[::-1, :, None]
    colours = np.array([[12, 12, 40], [120, 30, 110], [240, 110, 60], [255, 245, 190]], np.float64)
    place = shade * (len(colours) - 1)
    low = np.minimum(place.astype(int), len(colours) - 2)
    mixed = colours[low[..., 0]] * (1 - (place - low)) + colours[low[..., 0] + 1] * (place - low)
    picture: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return picture
