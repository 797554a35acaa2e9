"""What the ledger of gain.py says: arms against a control within each cell, with intervals, p-values and Holm's step.

Shapes: S replicates, N test rows, or groups of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _gain_cells import TASKS
from gain import answers, unpack
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student_t

from potstill.verify.gain import MARGIN, _parts, gain

CONTROL = "hard-label"
LEAST = 3
"""Replicates below which nothing is claimed and a cell is in no average."""


@dataclass
class Contrast:
    """One arm against another in one cell, in points of accuracy."""

    cell: str
    arm: str
    control: str
    points: float
    low: float
    high: float
    verdict: str
    replicates: int
    p: float
    holds: bool = False
    """Holm's step-down over all contrasts with the control rejects it at 5 %."""

    @property
    def text(self) -> str:
        half = (self.high - self.low) / 2
        if self.replicates < LEAST:
            return f"({self.points:+.1f}, {self.replicates} of {LEAST})"
        star = "*" if self.holds else ""
        return f"{self.points:+.1f} ± {half:.1f} {self.verdict}{star}"


@dataclass
class Cell:
    """Every training of one task, share, student and length."""

    name: str
    task: str
    share: str
    params: int
    epochs: int
    arms: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    """Arm -> replicate -> ledger line."""

    def accuracy(self, arm: str) -> float | None:
        """Return the mean accuracy in percent, or None."""
        found = self.arms.get(arm)
        return None if not found else 100 * float(np.mean([e["accuracy"] for e in found.values()]))

    def correct(self, arm: str, replicates: list[int]) -> NDArray[Any]:
        """Return [S, N] of 0 and 1, or of the shares of N groups of rows."""
        return np.stack([answers(self.arms[arm][r]) for r in replicates])

    def common(self, arm: str, control: str) -> list[int]:
        """Return the replicates that both arms have."""
        return sorted(set(self.arms.get(arm, {})) & set(self.arms.get(control, {})))

    def contrast(self, arm: str, control: str = CONTROL) -> Contrast | None:
        """Return arm minus control over the replicates that both have, or None."""
        replicates = self.common(arm, control)
        if not replicates:
            return None
        ours, theirs = self.correct(arm, replicates), self.correct(control, replicates)
        compare = _over_splits if TASKS[self.task].new_splits else _over_seeds
        points, low, high, verdict, p = compare(ours, theirs)
        if len(replicates) < LEAST:
            verdict = "unresolved"
        return Contrast(self.name, arm, control, points, low, high, verdict, len(replicates), p)


def cells(entries: list[dict[str, Any]]) -> dict[str, Cell]:
    """Return every cell by its name, cheapest first within its task."""
    out: dict[str, Cell] = {}
    for e in entries:
        if e["type"] == "training":
            cell = out.setdefault(e["cell"], Cell(e["cell"], e["task"], e["share"], e["params"], e["epochs"]))
            cell.arms[e["arm"]][e["seed"]] = e
    order = list(TASKS)
    return dict(sorted(out.items(), key=lambda c: (order.index(c[1].task), c[1].epochs, c[1].share, c[1].params)))


def _over_splits(ours_SN: NDArray[Any], theirs_SN: NDArray[Any]) -> tuple[float, float, float, str, float]:
    """Each replicate has its own split, teacher and seed: a t interval over their paired differences."""
    values = 100 * (ours_SN.mean(axis=1) - theirs_SN.mean(axis=1))
    points, num = float(values.mean()), len(values)
    if num < 2 or values.std() == 0:
        return points, points, points, "unresolved", 1.0
    error = float(values.std(ddof=1)) / math.sqrt(num)
    half = float(student_t.ppf(0.975, num - 1)) * error
    p = 2 * float(student_t.sf(abs(points) / error, num - 1))
    return points, points - half, points + half, _verdict(points - half, points + half), p


def _verdict(low: float, high: float) -> str:
    if -MARGIN <= low and high <= MARGIN:
        return "no gain"
    return "gain" if low > 0 else "loss" if high < 0 else "unresolved"


def _over_seeds(ours_SN: NDArray[Any], theirs_SN: NDArray[Any]) -> tuple[float, float, float, str, float]:
    """One split, one teacher: potstill's own interval, which joins seeds and test rows."""
    found = gain(ours_SN, theirs_SN)
    if len(ours_SN) < 2:
        return found.points, found.low, found.high, found.verdict, 1.0
    parts = _parts(100 * (ours_SN - theirs_SN))
    error = math.sqrt(parts.variance(len(ours_SN)))
    quantile = parts.quantile(len(ours_SN))
    if error == 0:
        return found.points, found.low, found.high, found.verdict, 1.0
    # The degrees of freedom are those that give this quantile.
    df = 1e6 if quantile < student_t.ppf(0.975, 1e6) else brentq(lambda d: student_t.ppf(0.975, d) - quantile, 0.9, 1e6)
    p = 2 * float(student_t.sf(abs(found.points) / error, df))
    return found.points, found.low, found.high, found.verdict, p


def holm(contrasts: list[Contrast]) -> None:
    """Mark what stays at a family-wise 5 % (Holm 1979)."""
    family = sorted((c for c in contrasts if c.replicates >= LEAST), key=lambda c: c.p)
    for i, contrast in enumerate(family):
        if contrast.p * (len(family) - i) >= 0.05:
            break
        contrast.holds = True


def by_uncertainty(
    cell: Cell, teachers: dict[str, dict[str, Any]], arm: str
) -> tuple[list[float], float, float] | None:
    """Return (gain in points on each quarter of the test rows from sure to unsure teacher, share of the net gain that
    lies in the unsure half, share of rows on which both arms agree), averaged over replicates, or None."""
    replicates = cell.common(arm, CONTROL)
    if len(replicates) < LEAST:
        return None
    difference = cell.correct(arm, replicates) - cell.correct(CONTROL, replicates)
    quarters = []
    for row, r in zip(difference, replicates, strict=True):
        teacher = teachers[cell.arms[arm][r]["teacher"]]
        quarter = unpack(teacher["uncertainty_quarter"], teacher["rows"])
        quarters.append([100 * float(row[quarter == q].mean()) for q in range(4)])
    mean = np.mean(quarters, axis=0)
    total = float(mean.sum())
    unsure = float(mean[2:].sum()) / total if abs(total) > 1e-9 else math.nan
    return [float(v) for v in mean], unsure, float((difference == 0).mean())
