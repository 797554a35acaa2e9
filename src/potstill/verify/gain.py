"""What distilling gave, with an interval that joins seeds and test samples. Shapes: S seeds, N test rows, G groups of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.tasks import Truth
from potstill.tasks._stats import wilson

MARGIN = 0.3
"""Points within which a gain is none."""
_MAX_SEEDS = 1000

Verdict = Literal["gain", "loss", "no gain", "unresolved"]


@dataclass(frozen=True)
class Gain:
    """Student against one control, in points (1/100 of the headline metric)."""

    points: float
    low: float
    high: float
    verdict: Verdict
    per_seed: list[float]
    more_seeds: int | None
    """Further seeds that would settle an unresolved verdict if the estimates hold; None where none would, or none is
    needed."""
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Parts:
    """Variance components of a mean over S seeds crossed with N rows."""

    seed: float
    """Variance of one seed's mean around the truth, rows fixed."""
    row: float
    """Variance of one row's mean around the truth, seeds fixed, divided by N."""
    rest: float
    """What seed and row leave unexplained, of one seed, divided by N."""
    num_seeds: int
    num_rows: int

    def variance(self, num_seeds: int) -> float:
        # max(A + B - C, A, B): seeds that agree by chance must not leave an interval of no width.
        return max(self.seed, self.rest) / num_seeds + self.row

    def quantile(self, num_seeds: int) -> float:
        """Student's t at 97.5 % with Satterthwaite's degrees of freedom."""
        from scipy.stats import t

        total = self.variance(num_seeds)
        if total <= 0:
            return 0.0
        by_seed = (self.seed / num_seeds) ** 2 / max(num_seeds - 1, 1)
        by_row = (self.row + self.rest / num_seeds) ** 2 / max(self.num_rows - 1, 1)
        return float(t.ppf(0.975, total**2 / max(by_seed + by_row, 1e-300)))

    def half(self, num_seeds: int) -> float:
        return self.quantile(num_seeds) * math.sqrt(max(self.variance(num_seeds), 0.0))


def _parts(values_SN: NDArray[Any]) -> _Parts:
    """Estimate the components of a two-way crossed design without replication.

    V(mean) = v_seed / S + v_row / N + v_rest / (S N) = A + B - C, where A is the variance of the seeds' means over S,
    B that of the rows' means over N, and C, the residual over S N, is in both and counted once; never less than A or
    B (Cornfield and Tukey 1956, doi:10.1214/aoms/1177728067; for data of this form Owen 2007, doi:10.1214/07-AOAS122).
    """
    num_seeds, num_rows = values_SN.shape
    by_seed, by_row = values_SN.mean(axis=1), values_SN.mean(axis=0)
    rest = values_SN - by_seed[:, None] - by_row[None, :] + values_SN.mean()
    v_rest = float((rest**2).sum() / max((num_seeds - 1) * (num_rows - 1), 1))
    # var(by_seed) estimates v_seed + v_rest / N: the whole of what another seed would add.
    seed = float(by_seed.var(ddof=1)) if num_seeds > 1 else 0.0
    v_means = float(by_row.var(ddof=1)) if num_rows > 1 else 0.0
    row = max(v_means - v_rest / num_seeds, 0.0) / num_rows
    return _Parts(seed, row, min(v_rest, v_means * num_seeds) / num_rows, num_seeds, num_rows)


def gain(student_SN: NDArray[Any], control_SN: NDArray[Any], rows: str = "test rows") -> Gain:
    """Compare two arms trained with the same seeds and tested on the same rows.

    Args:
        student_SN: [S, N] each row's share of the headline metric (0 or 1 for accuracy).
        control_SN: likewise, row s of the same seed.
        rows: what N counts, for words: test rows, or groups of them.

    Returns:
        The mean difference in points with a 95 % interval, and what may be said: "gain" or "loss" if the interval lies
        on one side of 0, "no gain" if it lies within ±0.3 points, else "unresolved". One seed never settles anything.

    Raises:
        ValueError: shapes differ.
    """
    if student_SN.shape != control_SN.shape or student_SN.ndim != 2:
        raise ValueError(f"gain: needs two arrays [seeds, rows]; got {student_SN.shape} and {control_SN.shape}")
    difference = (student_SN - control_SN) * 100
    num_seeds, num_rows = difference.shape
    points = float(difference.mean())
    per_seed = [float(v) for v in difference.mean(axis=1)]
    if num_seeds == 1:
        half = 1.96 * float(difference[0].std(ddof=1)) / math.sqrt(num_rows)
        detail = "One seed: the interval covers test samples only, and nothing is claimed. Train at least 3 seeds."
        return Gain(points, points - half, points + half, "unresolved", per_seed, 2, detail)
    if not difference.any():
        return _all_alike(num_seeds, num_rows)
    parts = _parts(difference)
    half = parts.half(num_seeds)
    verdict = _verdict(points, half)
    low, high = points - half, points + half
    if verdict != "unresolved":
        return Gain(points, low, high, verdict, per_seed, None, f"{num_seeds} seeds, {num_rows} {rows}")
    return Gain(points, low, high, verdict, per_seed, *_how_to_settle(points, parts, rows))


def _all_alike(num_seeds: int, num_rows: int) -> Gain:
    """Return the gain where no row differs in any seed: nothing was seen to vary, so the interval is Wilson's bound on
    the share of rows that could differ unseen."""
    half = 100 * wilson(0, num_rows)[1]
    detail = f"no test row differs in any of {num_seeds} seeds; {num_rows:,} rows bound the gain to ±{half:.2g} points"
    return Gain(0.0, -half, half, _verdict(0.0, half), [0.0] * num_seeds, None, detail)


def _verdict(points: float, half: float) -> Verdict:
    low, high = points - half, points + half
    if -MARGIN <= low and high <= MARGIN:
        return "no gain"
    return "gain" if low > 0 else "loss" if high < 0 else "unresolved"


def _how_to_settle(points: float, parts: _Parts, what: str) -> tuple[int | None, str]:
    for num_seeds in range(parts.num_seeds + 1, _MAX_SEEDS + 1):
        if _verdict(points, parts.half(num_seeds)) != "unresolved":
            more = num_seeds - parts.num_seeds
            return more, f"about {more} more seed{'s' if more > 1 else ''} would settle it, if the estimates hold"
    needed = max(abs(points), MARGIN - abs(points)) if abs(points) < MARGIN else abs(points)
    rows = math.ceil(parts.row * parts.num_rows * (1.96 / max(needed, 1e-3)) ** 2)
    if rows <= parts.num_rows:
        return None, f"the seeds differ too much: even {_MAX_SEEDS:,} would not settle it"
    return (
        None,
        f"more seeds alone would not settle it: about {rows:,} {what} would be needed, not {parts.num_rows:,}",
    )


def accuracy_interval(correct_SN: NDArray[Any]) -> tuple[float, float, float]:
    """Return (mean, low, high) of a metric of at most 1: of rows that are right or wrong, Wilson's interval for one seed, or
    where every row is right or every row wrong; else seeds and rows joined, within [0, 1] where no row's share is below 0."""
    num_seeds, num_rows = correct_SN.shape
    mean = float(correct_SN.mean())
    if (num_seeds == 1 or mean in (0.0, 1.0)) and ((correct_SN == 0) | (correct_SN == 1)).all():
        low, high = wilson(mean * num_rows, num_rows)
        return mean, low, high
    half = _parts(correct_SN).half(num_seeds)
    low = mean - half
    return mean, max(0.0, low) if (correct_SN >= 0).all() else low, min(1.0, mean + half)


def drop(before_N: NDArray[Any], after_N: NDArray[Any]) -> dict[str, Any]:
    """Return {"value", "low", "high"}, the points that one model loses against another on the same test rows, with a 95 % interval.

    Args:
        before_N: what `independent` gives of the first, for one seed.
        after_N: likewise of the second, in the same order.
    """
    lost_N = (np.asarray(before_N, np.float64) - after_N).reshape(-1) * 100
    # Where no row differs nothing was seen to vary: Wilson's bound on the share of rows that could differ unseen.
    half = _parts(lost_N[None]).half(1) if lost_N.any() else 100 * wilson(0, len(lost_N))[1]
    value = float(lost_N.mean())
    return {"value": value, "low": value - half, "high": value + half}


def one_group(groups_N: NDArray[Any] | None, truth: Truth) -> bool:
    """Return whether rows belong to groups, and every judged one to the same."""
    return groups_N is not None and len(np.unique(groups_N[truth.labels_N >= 0])) == 1


def independent(correct_SN: NDArray[Any], groups_N: NDArray[Any] | None, truth: Truth) -> NDArray[Any]:
    """Return what an interval may take for independent values: one a judged row or, where rows belong to groups, one a group. Of
    one group alone the rows are given: nothing shows how groups differ, and whoever reports it must say so.

    Args:
        correct_SN: what the task says of each judged row.
        groups_N: of the split's rows, judged or not; None where none is stated.
        truth: of the same rows.
    """
    return correct_SN if one_group(groups_N, truth) else clustered(correct_SN, groups_N, truth)


def clustered(correct_SN: NDArray[Any], groups_N: NDArray[Any] | None, truth: Truth) -> NDArray[Any]:
    """Return one value a judged row, or one a group where rows belong to groups, even if to one alone; as `independent` otherwise."""
    if groups_N is None:
        return correct_SN
    known, weights = truth.labels_N >= 0, truth.weights_N
    return by_group(correct_SN, groups_N[known], None if weights is None else weights[known])


def by_group(values_SN: NDArray[Any], groups_N: NDArray[Any], weights_N: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return [S, G], one value a group of rows: rows of one patient, or windows that overlap, are alike, and an interval that
    takes each for an independent one is too narrow.

    A group's value is its part of the mean, linearised for groups of different sizes, so that the mean over groups is that
    over rows (the ratio estimator of a cluster sample; Cochran 1977, Sampling Techniques, on clusters of unequal sizes).

    Args:
        values_SN: each row's share of a metric; where rows have weights, times weight over mean weight.
        groups_N: whose rows they are.
        weights_N: of rows; None weighs them alike.
    """
    names, index = np.unique(groups_N, return_inverse=True)
    num_rows = values_SN.shape[1]
    weights = np.ones(num_rows) if weights_N is None else np.asarray(weights_N, np.float64)
    sizes = np.bincount(index, weights, minlength=len(names)) / weights.sum()
    out = np.empty((len(values_SN), len(names)))
    for s, values_N in enumerate(values_SN):
        mean = values_N.mean()
        sums = np.bincount(index, values_N, minlength=len(names)) / num_rows
        out[s] = mean + len(names) * (sums - mean * sizes)
    return out
