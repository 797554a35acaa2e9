"""What objectives on values share. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar

from potstill.core.errors import ShapeError, StoreError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec
from potstill.objectives._checks import shaped

if TYPE_CHECKING:
    from torch import Tensor


class ValueSpec(ObjectiveSpec, ABC):
    """A term on numbers [B, H, V] that student and teacher give."""

    teaches: ClassVar[tuple[TaskOutput, ...]] = ("values",)
    dense: ClassVar[bool] = True

    def needs(self) -> Needs:
        return Needs(teacher="values")

    def of_teacher(self, x: LossInputs) -> Tensor:
        """Return the teacher's values, [B, H, V]. Raises StoreError where there are none."""
        if x.teacher is None:
            raise StoreError(f"{self.kind}: needs the teacher's values; this training has none.")
        return shaped(self.kind, x.teacher.values(), x.values_BHV)


def same_values(where: str, student_BHV: Tensor, other_BHV: Tensor, least: int = 1) -> None:
    """Raise ShapeError, naming both shapes, unless both are [B, H, V] and alike, with H of at least so many."""
    if student_BHV.ndim != 3 or student_BHV.shape != other_BHV.shape:
        raise ShapeError(
            f"{where}: must be given values [B, H, V] of one shape; got {list(student_BHV.shape)} and "
            f"{list(other_BHV.shape)}. Check horizon and variables of both."
        )
    if student_BHV.shape[1] < least:
        raise ShapeError(f"{where}: needs a horizon of at least {least}; got {student_BHV.shape[1]}.")
