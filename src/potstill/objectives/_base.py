"""What an objective is. Shapes: B rows of a batch, K classes, L tokens, H horizon, V variables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from pydantic import Field, field_validator

from potstill.core.errors import ShapeError
from potstill.core.outputs import TaskOutput, TeacherOutput
from potstill.core.spec import Registry, Spec
from potstill.schedules import Scheduled, lowest
from potstill.taps import Joins, Shape, Taps, TapSort

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.taps.adapters import Joint


@dataclass(frozen=True)
class Needs:
    """What an objective reads; decides what the store must hold and what is captured."""

    labels: bool = False
    """Reads the hard labels, or the targets of values; rows without one carry no such term, unless `labels_optional`."""
    labels_optional: bool = False
    """Rows without a label have the term too, with something of the teacher's in the label's place."""
    teacher: Literal["nothing", "either"] | TeacherOutput = "nothing"
    """What it reads of the teacher, and so what the store must hold; a teacher that gives probabilities has no logits, and
    either is one of these two."""
    temperatures: tuple[float, ...] | None = ()
    """Every temperature it reads the teacher at; None if it varies freely (a top-k store cannot serve that)."""
    standardized: bool = False
    """Reads the teacher's logits standardised per row."""
    taps: Taps | None = None
    """The pairs of places whose outputs it reads; None for none. The teacher's are live or stored."""
    tap_sort: TapSort = "stages"
    """The places that `auto` and `last` mean."""


class TeacherRows(Protocol):
    """The teacher's outputs for the rows of one batch, decoded from the store on demand."""

    output: TeacherOutput

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Return [B, K] float32 raw logits (not divided by T); a sparse codec fills its tail to be exact at that T. Of
        tokens, [B, L * K].

        With `standardized`, return (z - mean) / std per row, std with ddof 0 over K, floored at 1e-6.
        """
        ...

    def probabilities(self) -> Tensor:
        """Return [B, K] float32, rows summing to 1; softmax of the logits where the teacher gives logits."""
        ...

    def values(self) -> Tensor:
        """Return [B, H * V] float32, the teacher's numbers in the order of the student's output."""
        ...

    def tokens(self) -> Tensor:
        """Return [B, L] int64, ids of the tokens that the teacher wrote; -1 is padding."""
        ...


@dataclass
class LossInputs:
    """One batch as an objective sees it."""

    output: Tensor
    """What the student gave, raw, float32: [B, K] (classes, flags), [B, L, K] or [B, H, V], by the task's `output`. An objective reads it
    under the name of the shape that it needs."""
    labels_B: Tensor
    """Hard labels, int64; -1 where a row has none."""
    progress: float
    """Share of optimiser steps taken, [0, 1]."""
    teacher: TeacherRows | None = None
    partner_labels_B: Tensor | None = None
    """Labels of the mixup partners, -1 where absent; None without mixup."""
    mix_B: Tensor | None = None
    """Share of the row itself in the mixed picture, [0, 1] float32; None without mixup."""
    tokens_BL: Tensor | None = None
    """The true tokens of a task of tokens, int64: after what the student was fed up to a place, the one that comes there; -1 is
    padding, also of a whole row whose text is not known."""
    student_taps: dict[str, Tensor] = field(default_factory=dict)
    """What this objective's taps gave, float32, through its adapters; by the name of the pair, first stage first."""
    teacher_taps: dict[str, Tensor] = field(default_factory=dict)
    """Likewise of the teacher, under the same names; without gradient."""
    token_mask_BL: Tensor | None = None
    """Which tokens are real, [B, L] bool; False is padding, None means that all are. Of the tokens of the output where a task
    gives tokens, of those of the input otherwise."""
    tap_masks: dict[str, Tensor] = field(default_factory=dict)
    """By the name of a pair, which of its tokens are real, where they are others than those of `token_mask_BL`: a translator
    reads one text and writes another."""
    targets_BHV: Tensor | None = None
    """The true values, float32, of a task of values; NaN where unknown."""
    flags_BK: Tensor | None = None
    """Which classes a row has, float32 0 or 1, of a task of flags; NaN where unknown."""
    weights_B: Tensor | None = None
    """What each row counts, float32 > 0; None counts all alike. The trainer multiplies `mask` by it: no loss reads it."""

    @property
    def logits_BK(self) -> Tensor:
        """The student's raw logits of classes, or of flags. Raises ShapeError where its output is something else."""
        return self._output(2, "logits of classes [B, K]")

    @property
    def logits_BLK(self) -> Tensor:
        """The student's raw logits of tokens. Raises ShapeError where its output is something else."""
        return self._output(3, "logits of tokens [B, L, K]")

    @property
    def values_BHV(self) -> Tensor:
        """The student's values. Raises ShapeError where its output is something else."""
        return self._output(3, "values [B, H, V]")

    def _output(self, ndim: int, what: str) -> Tensor:
        if self.output.ndim != ndim:
            raise ShapeError(
                f"student: must give {what} for this objective; got {list(self.output.shape)}. Use an objective for what it "
                "gives."
            )
        return self.output


class ObjectiveSpec(Spec, ABC):
    """A weighted, named term of the training loss."""

    reference: ClassVar[str]
    """The paper, with its identifier."""
    dense: ClassVar[bool] = False
    """Reads every class as it was: codecs that keep only some of them will not do."""
    relational: ClassVar[bool] = False
    """A row's loss depends on the other rows of its process's batch; only the mean over rows means something."""
    teaches: ClassVar[tuple[TaskOutput, ...]] = ("classes",)
    """The outputs of tasks that it can teach; a recipe of another task is refused."""
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
        """Return [B] float32, what each row's loss counts, for the trainer's sum(w l) / sum(w): 0 or 1, whether a row has this
        term; or the number of its tokens, so that the mean is over tokens. None means 1 for all."""
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
