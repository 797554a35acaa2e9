"""Counter-based randomness: every draw is a pure function of its arguments, whatever the order, batch or worker.

Shapes: B rows, N draws. The generator is the SplitMix64 finaliser chained over the counters (Steele et al. 2014,
doi:10.1145/2714064.2660195); it is our own, so streams do not move with NumPy's version.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = np.uint64


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + U64(0x9E3779B97F4A7C15)  # a new array, worked on in place; whole arrays wrap around without a warning
    x ^= x >> U64(30)
    x *= U64(0xBF58476D1CE4E5B9)
    x ^= x >> U64(27)
    x *= U64(0x94D049BB133111EB)
    x ^= x >> U64(31)
    return x


def seed_of(*parts: object) -> int:
    """Return a 63-bit seed derived from any printable parts (names, numbers)."""
    text = "\x1f".join(str(p) for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def bits(seed: int, ids_B: NDArray[np.int64], view: int, op: str, num: int = 1) -> NDArray[np.uint64]:
    """Return [B, num] uniform 64-bit words for (seed, id, view, op)."""
    key = np.array([seed_of(seed, view, op)], dtype=U64)
    rows = _mix(np.asarray(ids_B, dtype=np.int64).astype(U64) ^ _mix(key))
    counters = _mix(np.arange(num, dtype=U64) + U64(1))
    return _mix(rows[:, None] ^ counters[None, :])


def uniform(seed: int, ids_B: NDArray[np.int64], view: int, op: str, num: int = 1) -> NDArray[np.float64]:
    """Return [B, num] floats in [0, 1) for (seed, id, view, op)."""
    out: NDArray[Any] = (bits(seed, ids_B, view, op, num) >> U64(11)).astype(np.float64)
    return out * 2.0**-53


def permutation(seed: int, epoch: int, num: int) -> NDArray[np.int64]:
    """Return a permutation of 0..num-1, a pure function of (seed, epoch, num)."""
    words = bits(seed, np.arange(num, dtype=np.int64), epoch, "order")[:, 0]
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
