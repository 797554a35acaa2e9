"""What objectives on features share. Shapes: B rows, C channels, H, W pixels, L tokens, D width."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from potstill.core.errors import ShapeError, TrainingError
from potstill.core.outputs import TaskOutput
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec
from potstill.taps import Joins, Taps, TapSort

if TYPE_CHECKING:
    from torch import Tensor

NORM_FLOOR = 1e-8
"""Least norm that anything is divided by."""


class FeatureSpec(ObjectiveSpec, ABC):
    """A sum over pairs of taps. The teacher is a torch module here; its features are live or stored."""

    teaches: ClassVar[tuple[TaskOutput, ...]] = ("classes", "tokens", "values")
    tap_sort: ClassVar[TapSort] = "stages"
    """The places that `auto` and `last` mean."""

    taps: Taps = Field(default="auto")
    """Where it compares: auto (the ends of stages, paired), last (the last of these alone), or a list of pairs
    {student: ..., teacher: ...} of names or patterns; see `potstill taps`."""

    def needs(self) -> Needs:
        return Needs(taps=self.taps, tap_sort=self.tap_sort)

    def loss(self, x: LossInputs) -> Tensor:
        return functools.reduce(operator.add, [self.pair_loss(*pair) for pair in paired(self.kind, x)])

    @abstractmethod
    def pair_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one pair, [B]; the teacher receives no gradient."""


class RelationSpec(FeatureSpec, ABC):
    """How rows of a batch relate, compared between two models: no shapes need to agree."""

    relational: ClassVar[bool] = True
    joins: ClassVar[Joins] = "nothing"
    taps: Taps = Field(default="last")
    """Where it compares: last (the end of the last stage of each model), auto (the ends of stages, paired), or a list of
    pairs {student: ..., teacher: ...} of names or patterns; see `potstill taps`."""


def paired(where: str, x: LossInputs) -> list[tuple[Tensor, Tensor]]:
    """Return (student's, teacher's) output of each pair of taps, first stage first.

    Raises:
        TrainingError: there is none, or the two models' taps have other names.
    """
    if not x.student_taps or x.student_taps.keys() != x.teacher_taps.keys():
        raise TrainingError(
            f"{where}: needs outputs of both models' taps under the same names; got {sorted(x.student_taps)} and "
            f"{sorted(x.teacher_taps)}. In a loop of your own, fill student_taps and teacher_taps."
        )
    return [(taps, x.teacher_taps[name]) for name, taps in x.student_taps.items()]


def same_features(where: str, student: Tensor, teacher: Tensor) -> None:
    """Raise ShapeError, naming both shapes, unless both are alike and have at least one feature."""
    if student.ndim < 2 or student.shape != teacher.shape:
        raise ShapeError(
            f"{where}: student and teacher must give features [B, ...] of one shape; got {list(student.shape)} and "
            f"{list(teacher.shape)}. An adapter joins them: see potstill taps RECIPE."
        )


def same_rows(where: str, student: Tensor, teacher: Tensor) -> None:
    """Raise ShapeError, naming both shapes, unless both are [B, ...] with the same B."""
    if min(student.ndim, teacher.ndim) < 2 or len(student) != len(teacher):
        raise ShapeError(
            f"{where}: student and teacher must give features [B, ...] of the same rows; got {list(student.shape)} and "
            f"{list(teacher.shape)}."
        )


def channels_last(features: Tensor) -> Tensor:
    """Return [B, positions, channels] of pictures [B, C, H, W], tokens [B, L, D], or vectors [B, D] (one position)."""
    if features.ndim == 2:
        return features[:, None]
    return features.flatten(2).transpose(1, 2) if features.ndim > 3 else features


def pooled(features: Tensor) -> Tensor:
    """Return [B, channels], the mean over positions."""
    return channels_last(features).mean(dim=1)


def unit(rows: Tensor) -> Tensor:
    """Return rows of L2 norm 1 along the last dimension. One of norm below 1e-8, as ReLU can leave, becomes zeros without
    gradient: divided by next to nothing, it would drown the others."""
    square = rows.square().sum(dim=-1, keepdim=True)
    there = square > NORM_FLOOR**2
    return rows * (there / square.where(there, square.new_ones(())).sqrt())
