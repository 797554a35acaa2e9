"""Checks that every loss makes on what it is given. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from potstill.core.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def same_shape(where: str, student_BK: Tensor, teacher_BK: Tensor) -> None:
    """Raise ShapeError, naming both shapes, unless both are [B, K] and alike."""
    if student_BK.ndim != 2 or student_BK.shape != teacher_BK.shape:
        raise ShapeError(
            f"{where}: student and teacher must give logits [B, K] of the same classes; got "
            f"{list(student_BK.shape)} and {list(teacher_BK.shape)}. Check the teacher's class order and count."
        )


def positive_temperature(where: str, temperature: float) -> None:
    """Raise ValueError unless 0 < T < inf."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"{where}: temperature must be in (0, inf); got temperature={temperature}.")
