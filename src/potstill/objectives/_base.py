"""What an objective is. Shapes: B rows of a batch, K classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from pydantic import Field, field_validator

from potstill.core.spec import Registry, Spec
from potstill.schedules import Scheduled, lowest
from potstill.taps import Joins, Shape, Taps

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.taps.adapters import Joint


@dataclass(frozen=True)
class Needs:
    """What an objective reads; decides what the store must hold and what is captured."""

    labels: bool = False
    """Reads the hard labels; rows without one carry no such term, unless `labels_optional`."""
    labels_optional: bool = False
    """Rows without a label have the term too, with something of the teacher's in the label's place."""
    teacher: Literal["nothing", "logits", "probabilities", "either"] = "nothing"
    """What it reads of the teacher; a teacher that gives probabilities has no logits."""
    temperatures: tuple[float, ...] | None = ()
    """Every temperature it reads the teacher at; None if it varies freely (a top-k store cannot serve that)."""
    standardized: bool = False
    """Reads the teacher's logits standardised per row."""
    taps: Taps | None = None
    """The pairs of places whose outputs it reads; None for none. The teacher's are live or stored."""


class TeacherRows(Protocol):
    """The teacher's outputs for the rows of one batch, decoded from the store on demand."""

    output: Literal["logits", "probabilities"]

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Return [B, K] float32 raw logits (not divided by T); a sparse codec fills its tail to be exact at that T.

        With `standardized`, return (z - mean) / std per row, std with ddof 0 over K, floored at 1e-6.
        """
        ...

    def probabilities(self) -> Tensor:
        """Return [B, K] float32, rows summing to 1; softmax of the logits where the teacher gives logits."""
        ...


@dataclass
class LossInputs:
    """One batch as an objective sees it."""

    logits_BK: Tensor
    """The student's raw logits, [B, K] float32."""
    labels_B: Tensor
    """Hard labels, int64; -1 where a row has none."""
    progress: float
    """Share of optimiser steps taken, [0, 1]."""
    teacher: TeacherRows | None = None
    partner_labels_B: Tensor | None = None
    """Labels of the mixup partners, -1 where absent; None without mixup."""
    mix_B: Tensor | None = None
    """Share of the row itself in the mixed picture, [0, 1] float32; None without mixup."""
    student_taps: dict[str, Tensor] = field(default_factory=dict)
    """What this objective's taps gave, float32, through its adapters; by the name of the pair, first stage first."""
    teacher_taps: dict[str, Tensor] = field(default_factory=dict)
    """Likewise of the teacher, under the same names; without gradient."""


class ObjectiveSpec(Spec, ABC):
    """A weighted, named term of the training loss."""

    reference: ClassVar[str]
    """The paper, with its identifier."""
    dense: ClassVar[bool] = False
    """Reads every class as it was: codecs that keep only some of them will not do."""
    relational: ClassVar[bool] = False
    """A row's loss depends on the other rows of its process's batch; only the mean over rows means something."""
    joins: ClassVar[Joins] = "all"
    """What must be alike in a pair of taps before `loss` reads it; adapters are built for that and no more."""

    kind: str
    weight: Scheduled = Field(default=1.0)
    """Multiplier of this term in the total loss, >= 0, dimensionless; a number or a schedule."""

    @field_validator("weight")
    @classmethod
    def _not_negative(cls, value: Scheduled) -> Scheduled:
        if lowest(value) < 0:
            raise ValueError(f"must be >= 0 throughout; got {lowest(value):g}. A negative term drives the student away")
        return value

    @abstractmethod
    def needs(self) -> Needs:
        """Return what this objective reads."""

    def refuses(self, num_classes: int) -> str | None:
        """Return why this objective cannot teach a task of so many classes, with the remedy; None where it can."""
        return None

    @abstractmethod
    def loss(self, x: LossInputs) -> Tensor:
        """Return the unweighted, unreduced loss, [B] float32."""

    def mask(self, x: LossInputs) -> Tensor | None:
        """Return [B] float32 of 0 and 1: which rows have this term; None means all of them."""
        return None

    def joint(self, student: Shape, teacher: Shape, where: str) -> Joint:
        """Return what brings the outputs of a pair of taps together; its student's side may be trainable.

        Args:
            student: shape of one row's output.
            teacher: likewise.
            where: names this term and the pair in errors.

        Raises:
            ShapeError: nothing joins them.
        """
        from potstill.taps.adapters import join

        return join(student, teacher, self.joins, where)

    def readings(self, progress: float) -> dict[str, float]:
        """Return scheduled values worth logging besides the weight, such as the temperature."""
        return {}


registry: Registry[ObjectiveSpec] = Registry("objectives")
