"""What corruptions of every kind of sample share: the level of a severity, and draws that only the seed decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng


def level(levels: tuple[float, ...], severity: int) -> float:
    """Return the level of a severity, counted from 1. Raises ValueError for one that is not there."""
    if severity not in range(1, len(levels) + 1):
        raise ValueError(f"severity must be 1 to {len(levels)}; got severity={severity}.")
    return levels[severity - 1]


def uniform(seed: int, name: str, num: int) -> NDArray[np.float64]:
    """Return [num] draws in [0, 1), a pure function of seed and name."""
    out: NDArray[np.float64] = rng.uniform(seed, np.zeros(1, np.int64), 0, name, num)[0]
    return out
