"""The mel scale, on which equal steps sound alike. NumPy only.

Reference: O'Shaughnessy 1987, Speech Communication, p. 150: 2595 log10(1 + f / 700).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
