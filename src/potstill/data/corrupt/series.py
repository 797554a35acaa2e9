"""What happens to sensors: steps lost, a wandering zero, spikes, a clock that runs wrong. Shapes: T steps, V variables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from potstill.data.corrupt._draws import level, uniform

Corruption = Callable[[NDArray[np.float32], int, int], NDArray[np.float32]]
"""(sample [T, V] float32, severity 1 to 5, seed) -> the same shape and type; a pure function."""

DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Share of steps lost."""
DRIFT = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Standard deviations by which a variable's zero wanders, from the first step to the last."""
SPIKES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Share of values that are spikes."""
SKEW = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Share by which the clock runs fast or slow."""
_RUN = 4
_SPIKE = (3.0, 6.0)


def dropout(sample_TV: NDArray[np.float32], severity: int, seed: int) -> NDArray[np.float32]:
    """Lose steps in runs of about four; every variable holds its last value until there is a new one.

    Args:
        sample_TV: [T, V] float32.
        severity: 1 to 5: 5, 10, 20, 30 or 50 % of the steps.
        seed: of which steps.

    Returns:
        [T, V] float32; the first step is never lost.

    Raises:
        ValueError: no such severity.
    """
    share = level(DROPOUT, severity)
    steps = len(sample_TV)
    draws = _uniform(seed, "dropout", -(-steps // _RUN))
    num = round(share * steps)
    lost = np.zeros(steps, bool)
    for run in np.argsort(draws, kind="stable"):
        left = num - int(lost.sum())
        if left <= 0:
            break
        lost[run * _RUN : run * _RUN + min(_RUN, left)] = True
    lost[0] = False
    held = np.maximum.accumulate(np.where(lost, 0, np.arange(steps)))
    out: NDArray[np.float32] = np.take(sample_TV, held, axis=0)
    return out


def drift(sample_TV: NDArray[np.float32], severity: int, seed: int) -> NDArray[np.float32]:
    """Add a straight line to each variable that ends up or down by so many of its own standard deviations.

    Args:
        sample_TV: [T, V] float32.
        severity: 1 to 5: 0.25, 0.5, 1, 1.5 or 2 standard deviations of the window.
        seed: of the directions.

    Returns:
        [T, V] float32; the first step as it was.

    Raises:
        ValueError: no such severity.
    """
    strength = level(DRIFT, severity)
    steps, variables = sample_TV.shape
    sign = np.where(_uniform(seed, "drift", variables) < 0.5, -1.0, 1.0)
    ramp = np.linspace(0, 1, steps)[:, None] * sign * strength * sample_TV.astype(np.float64).std(axis=0)
    out: NDArray[np.float32] = (sample_TV + ramp).astype(np.float32)
    return out


def spikes(sample_TV: NDArray[np.float32], severity: int, seed: int) -> NDArray[np.float32]:
    """Put values three to six standard deviations of the window up or down, each in one variable.

    Args:
        sample_TV: [T, V] float32.
        severity: 1 to 5: 0.5, 1, 2, 5 or 10 % of the values, at least one.
        seed: of where and how high.

    Returns:
        [T, V] float32.

    Raises:
        ValueError: no such severity.
    """
    share = level(SPIKES, severity)
    num = max(1, round(share * sample_TV.size))
    where = np.argsort(_uniform(seed, "spikes-where", sample_TV.size), kind="stable")[:num]
    height = _uniform(seed, "spikes-height", sample_TV.size)[where]
    sign = np.where(_uniform(seed, "spikes-sign", sample_TV.size)[where] < 0.5, -1.0, 1.0)
    out = sample_TV.astype(np.float64)
    spread = np.broadcast_to(out.std(axis=0), out.shape).ravel()[where]
    out.ravel()[where] += sign * (_SPIKE[0] + height * (_SPIKE[1] - _SPIKE[0])) * spread
    return out.astype(np.float32)


def clock_skew(sample_TV: NDArray[np.float32], severity: int, seed: int) -> NDArray[np.float32]:
    """Read the series with a clock that runs fast or slow, linear between steps; past its end the last value is held.

    Args:
        sample_TV: [T, V] float32.
        severity: 1 to 5: 1, 2, 5, 10 or 20 %.
        seed: decides fast or slow.

    Returns:
        [T, V] float32; the first step as it was.

    Raises:
        ValueError: no such severity.
    """
    strength = level(SKEW, severity)
    rate = 1 + strength if _uniform(seed, "skew", 1)[0] < 0.5 else 1 - strength
    steps = np.arange(len(sample_TV), dtype=np.float64)
    columns = [np.interp(steps * rate, steps, column) for column in sample_TV.T.astype(np.float64)]
    return np.stack(columns, axis=1).astype(np.float32)


CORRUPTIONS: dict[str, Corruption] = {"dropout": dropout, "drift": drift, "spikes": spikes, "clock-skew": clock_skew}


def _uniform(seed: int, op: str, num: int) -> NDArray[np.float64]:
    return uniform(seed, f"series-{op}", num)
