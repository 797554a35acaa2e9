"""Factors on the weights of a loss that keep each term's share of the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

EVERY = 10
"""Steps between two measurements: often enough for a training of a few hundred, seldom enough to cost little."""
SMOOTHING = 0.4
"""Weight of a new measurement in the running mean of the norms' logarithms."""
LIMIT = 1e4
"""Factors lie in [1 / LIMIT, LIMIT]."""


class Balance:
    """One training's factors, by the names of its terms.

    With n the smoothed norm of a term's gradient at factor 1 and s its share, the factor is (s / n) over that of the term of
    the largest share, the first of equals, whose factor is 1.

    Args:
        shares: wanted of each term, in (0, 1), adding up to 1.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = dict(shares)
        self._lead = max(shares, key=lambda name: shares[name])
        self._levels: dict[str, float] = {}  # smoothed log norm at factor 1; of terms that had a gradient yet
        self.factors = dict.fromkeys(shares, 1.0)
        """Multipliers of the weights."""

    def update(self, norms: Mapping[str, float]) -> None:
        """Take in a measurement: the norm of each term's gradient, weight and factor included. One that is 0 or not finite
        leaves its term as it is."""
        seen = [name for name, norm in norms.items() if 0 < norm < math.inf]
        for name in seen:
            level = math.log(norms[name]) - math.log(self.factors[name])
            before = self._levels.get(name, level)
            self._levels[name] = before + SMOOTHING * (level - before)
        if self._lead not in self._levels:
            return
        lead, most = self._levels[self._lead], math.log(LIMIT)
        for name in seen:
            wanted = math.log(self._shares[name] / self._shares[self._lead]) + lead - self._levels[name]
            self.factors[name] = math.exp(min(max(wanted, -most), most))

    def state(self) -> dict[str, Tensor]:
        """Return, for a checkpoint, each term's [factor, level, 1 if it has a level]."""
        return {
            name: torch.tensor([factor, self._levels.get(name, 0.0), float(name in self._levels)], dtype=torch.float64)
            for name, factor in self.factors.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name in self.factors:
            self.factors[name], level, known = state[name].tolist()
            if known:
                self._levels[name] = level
