"""The finished student or its finished control? Validation rows, joined with what the ledger leads one to expect. Shapes: N
independent values: rows, or groups of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECOVERED = 0.25
"""Share of the distance between control and teacher that soft labels made up for, times the share of rows whose label the
student may not use: about the mean of docs/results/gain.md, where it lies between 0.17 and 0.45; with all labels it is 0."""
_LEAST_ERROR = 0.01
"""Standard error of what is expected where nothing is."""


@dataclass(frozen=True)
class Judged:
    """How two finished models compare; shares of the headline metric, [0, 1], or their differences."""

    student: float
    control: float
    expected: float
    """Gain that one would expect without having looked."""
    gain: float
    """Their mean, each weighed by its precision: above 0, the student is kept."""
    num: int
    """Independent values that were looked at."""

    @property
    def chosen(self) -> str:
        """Which to keep: student or control."""
        return "student" if self.gain > 0 else "control"


def judge(student_N: NDArray[Any], control_N: NDArray[Any], labelled: float, teacher_accuracy: float) -> Judged:
    """Return which of two trainings of one seed to keep.

    With few rows a difference says little: 20 rows often are level where one student is 5 points better. So it is joined
    with the gain to expect, as two normal distributions would be: RECOVERED of the teacher's lead over the control, for the
    share of rows without a label, give or take as much. Where every row has its label nothing is expected, and the rows
    alone decide; level, the control is kept.

    Args:
        student_N: each validation row's share of the headline metric, [0, 1]; where rows belong to groups, one value a group,
            whose mean is that of the rows. One group is one value, which says next to nothing.
        control_N: likewise of the control, on the same rows.
        labelled: share of training rows whose label the student may use, [0, 1].
        teacher_accuracy: of the teacher on labelled rows, [0, 1].
    """
    differences, num = student_N - control_N, len(student_N)
    seen = float(differences.mean())
    # One more value that differs than there are: a few that all agree do not prove that all would.
    variance = (float(np.square(differences).sum()) + 1 - num * seen**2) / num**2
    control = float(control_N.mean())
    expected = RECOVERED * (1 - labelled) * max(0.0, teacher_accuracy - control)
    prior = (expected + _LEAST_ERROR) ** 2
    gain = (seen / variance + expected / prior) / (1 / variance + 1 / prior)
    return Judged(
        float(student_N.mean()), control, expected, gain if not math.isclose(gain, 0, abs_tol=1e-12) else 0.0, num
    )
