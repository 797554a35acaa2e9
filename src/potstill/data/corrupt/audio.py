"""What happens to sound: noise, a start too late or too early, a microphone overdriven, frequencies lost. Shapes: T samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from potstill.core.mel import mel_shares
from potstill.data.corrupt._draws import level, uniform

Corruption = Callable[[NDArray[np.int16], int, int], NDArray[np.int16]]
"""(sample [T] int16, severity 1 to 5, seed) -> the same shape and type; a pure function."""

NOISE = (30.0, 20.0, 15.0, 10.0, 5.0)
"""Ratio of the clip's energy to the noise's, in dB."""
SHIFT = (0.02, 0.05, 0.1, 0.15, 0.2)
"""Share of the clip by which the sound moves."""
CLIPPING = (0.7, 0.5, 0.3, 0.2, 0.1)
"""Share of the clip's peak above which it is cut flat."""
BAND = (0.1, 0.2, 0.3, 0.45, 0.6)
"""Share of the mel scale that is lost."""


def noise(sample_T: NDArray[np.int16], severity: int, seed: int) -> NDArray[np.int16]:
    """Add white noise, normally distributed.

    Args:
        sample_T: [T] int16.
        severity: 1 to 5: at 30, 20, 15, 10 or 5 dB.
        seed: of the noise.

    Returns:
        [T] int16, clipped to its range; silence as it was.

    Raises:
        ValueError: no such severity.
    """
    ratio_db = level(NOISE, severity)
    u = _uniform(seed, "noise", 2 * len(sample_T)).reshape(2, -1)
    drawn = np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * np.pi * u[1])  # Box and Muller 1958
    sound = sample_T.astype(np.float64)
    return _int16(sound + drawn * np.sqrt(np.square(sound).mean()) * 10 ** (-ratio_db / 20))


def shift(sample_T: NDArray[np.int16], severity: int, seed: int) -> NDArray[np.int16]:
    """Move the sound earlier or later; silence comes in, and what leaves the clip is lost.

    Args:
        sample_T: [T] int16.
        severity: 1 to 5: by 2, 5, 10, 15 or 20 % of the clip.
        seed: decides which way.

    Returns:
        [T] int16.

    Raises:
        ValueError: no such severity.
    """
    by = round(level(SHIFT, severity) * len(sample_T))
    out = np.zeros_like(sample_T)
    if by == 0:
        return sample_T.copy()
    if _uniform(seed, "shift", 1)[0] < 0.5:
        out[by:] = sample_T[:-by]
    else:
        out[:-by] = sample_T[by:]
    return out


def clipping(sample_T: NDArray[np.int16], severity: int, seed: int) -> NDArray[np.int16]:
    """Cut peaks flat, then raise the clip to the loudness that it had, as an overdriven microphone with gain control.

    Args:
        sample_T: [T] int16.
        severity: 1 to 5: above 70, 50, 30, 20 or 10 % of the clip's peak.
        seed: unused; there is nothing to draw.

    Returns:
        [T] int16, its energy as it was as far as 16 bits hold it.

    Raises:
        ValueError: no such severity.
    """
    share = level(CLIPPING, severity)
    sound = sample_T.astype(np.float64)
    limit = share * np.abs(sound).max(initial=0)
    cut = np.clip(sound, -limit, limit)
    energy = np.square(cut).mean()
    return _int16(cut * np.sqrt(np.square(sound).mean() / energy)) if energy > 0 else sample_T.copy()


def band_loss(sample_T: NDArray[np.int16], severity: int, seed: int) -> NDArray[np.int16]:
    """Take out a band of frequencies, as a bad line does; its place on the mel scale is drawn.

    Args:
        sample_T: [T] int16.
        severity: 1 to 5: 10, 20, 30, 45 or 60 % of the mel scale, 0 to 4 kHz spread over all frequencies.
        seed: of the place.

    Returns:
        [T] int16.

    Raises:
        ValueError: no such severity.
    """
    share = level(BAND, severity)
    spectrum = np.fft.rfft(sample_T.astype(np.float64))
    low = _uniform(seed, "band", 1)[0] * (1 - share)
    mel = mel_shares(len(spectrum))
    spectrum[(mel >= low) & (mel < low + share)] = 0
    return _int16(np.fft.irfft(spectrum, n=len(sample_T)))


CORRUPTIONS: dict[str, Corruption] = {"noise": noise, "shift": shift, "clipping": clipping, "band-loss": band_loss}


def _int16(sound_T: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.rint(sound_T), -32768, 32767).astype(np.int16)


def _uniform(seed: int, op: str, num: int) -> NDArray[np.float64]:
    return uniform(seed, f"sound-{op}", num)
