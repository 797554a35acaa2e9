"""What a teacher is. Shapes: B rows, X the shape of one input, K classes, H horizon, V variables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from numpy.typing import NDArray

from potstill.core.errors import TeacherError
from potstill.core.samples import DataStats, SampleKind
from potstill.core.spec import Registry, Spec
from potstill.models import ModelIO, ModelSpec
from potstill.schedules.training import TrainSpec

OutputKind = Literal["logits", "probabilities", "values"]


class Labeller(Protocol):
    """Turns a micro-batch of samples into teacher outputs; always in eval mode, no gradient."""

    output: OutputKind
    num_classes: int

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32, or [B, H, V] of values, for a batch as the data gives it (core/samples.py); size, rate,
        tokens and normalisation are its own business. A pure function of the whole micro-batch."""
        ...


@dataclass(frozen=True)
class TeacherContext:
    """What a teacher may use to get ready."""

    work: Path
    """Folder that becomes the teacher's artifact; kept over interruptions."""
    io: ModelIO
    """Of the data."""
    stats: DataStats
    """Of its training split."""
    seed: int
    fit: Callable[[ModelSpec, TrainSpec, Path, int, str], None]
    """(model, training, folder, seed, labels "all" or "labelled") -> trains, leaving `student.json` and
    `student.safetensors` in the folder; resumable."""
    rows: Callable[..., Iterator[tuple[NDArray[Any], NDArray[Any]]]]
    """("all" or "labelled", views = 0) -> the training rows with such a label, in order, as (inputs [B, *X] as the data gives them,
    labels [B] int64), first as they are, then augmented so many times; for a head over features that are computed once."""


class TeacherSpec(Spec, ABC):
    """Where soft labels come from."""

    tappable: ClassVar[bool] = False
    """A torch module here, so that objectives on features can read outputs inside it: what `load` returns has a `module`
    and a `preprocess`."""

    kind: str

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        """Make the teacher ready in `context.work` (train it, check files) and return facts for the report.
        Must be repeatable: a second call after an interruption goes on."""
        return {}

    @abstractmethod
    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        """Return the labeller; `folder` is what `prepare` left, `io` and `stats` are the data's."""

    def reads(self) -> SampleKind:
        """Return the kind of sample that it labels."""
        return "image"

    def architecture(self, io: ModelIO, stats: DataStats) -> Any:
        """Return a labeller built as `load`'s will be, whatever its weights, before `prepare` ran: for names and shapes.

        Raises:
            TeacherError: the teacher is not tappable.
        """
        if not self.tappable:
            raise TeacherError(
                f"teacher.kind: must be a torch module here for its taps to be listed; got {self.kind!r}."
            )
        return self.load(Path(), io, stats)

    def fits(self) -> bool:
        """Return whether `prepare` trains (so the trainer's source is part of its key)."""
        return False

    def foreign(self) -> bool:
        """Return whether the teacher's preprocessing is the user's word (the gate then tries others)."""
        return True

    def saw_hidden_labels(self) -> bool | None:
        """Return whether it was trained on labels that the student may not see; None where nobody here knows, as for a
        teacher from elsewhere."""
        return None


registry: Registry[TeacherSpec] = Registry("teachers")
