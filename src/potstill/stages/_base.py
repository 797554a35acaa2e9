"""What a stage is, and what a step of a recipe is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from potstill.core.fingerprint import fingerprint
from potstill.core.progress import Progress
from potstill.core.spec import Registry, Spec
from potstill.data.augment import AugmentSpec
from potstill.labels.spec import FeaturesSpec, LabelsSpec
from potstill.models import ModelSpec
from potstill.taps import TapPair, Taps, TapSort
from potstill.tasks import TaskSpec
from potstill.teachers import TeacherSpec


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run; nothing here is part of what is computed, except through the numerics fingerprint."""

    cache: Path
    """Folder of the artifact cache."""
    threads: int = 1
    """CPU threads of one stage."""
    device: str = "cpu"
    accept_fingerprint: bool = False
    """Resume half-done work that was begun under another numerics fingerprint."""
    checkpoint_every_s: float = 20.0

    def fingerprint(self, world_size: int = 1, dtype: str = "float32") -> dict[str, Any]:
        """Return the numerics fingerprint of a stage run with these options."""
        return fingerprint(self.threads, self.device, dtype, world_size)


@dataclass(frozen=True)
class StageContext:
    """What a running stage may touch."""

    name: str
    """The node's name in the run, for progress and errors."""
    inputs: dict[str, Path]
    """Finished artifacts by the names in `requires`."""
    work: Path
    """Becomes the artifact when `run` returns; kept over interruptions."""
    options: RunOptions
    progress: Progress = field(default_factory=lambda: Progress("quiet"))


class StageSpec(Spec, ABC):
    """A stage with everything that decides its result."""

    requires: ClassVar[tuple[str, ...]]
    """Names of the input artifacts; a trailing '?' marks one that may be absent. Of a name there may be several, told apart by
    what follows a colon (features:layer1)."""
    stands_for: ClassVar[dict[str, str]] = {}
    """Name of an input that is another arm's artifact -> the name under which that arm provides it."""
    provides: ClassVar[str]
    """Name under which later stages ask for this artifact."""
    all_ranks: ClassVar[bool] = False
    """Runs in every process of a torchrun group; otherwise rank 0 works and the rest wait."""

    reads_long: ClassVar[bool] = False
    """Reads its inputs bit by bit over a long time: they are verified once more before its artifact is published."""

    kind: str

    @abstractmethod
    def run(self, context: StageContext) -> dict[str, Any]:
        """Fill `context.work` and return facts for the report (JSON values)."""

    def inputs_needed(self) -> tuple[str, ...]:
        """Return the inputs that this very spec reads: all in `requires`, unless a stage says less."""
        return tuple(name.rstrip("?") for name in self.requires)

    def uses(self) -> Iterator[str]:
        """Yield further modules whose source decides the result and that are imported by name only."""
        yield from ()


@dataclass(frozen=True)
class StepJob:
    """What a step of the recipe is turned into a stage with."""

    task: TaskSpec
    student: ModelSpec
    teacher: TeacherSpec
    labels: LabelsSpec
    augment: tuple[AugmentSpec, ...]
    seed: int
    augment_seed: int
    control: str | None
    """Name of the control arm, or None for the student."""
    controls: tuple[str, ...] = ()
    """All control arms of the recipe."""
    features: FeaturesSpec = field(default_factory=FeaturesSpec)
    before: tuple[StepSpec, ...] = ()
    """The recipe's steps before this one; known where faults are looked for."""
    runtimes: tuple[str, ...] | None = None
    """What the names of published runtimes begin with that take one of the recipe's exports; None where it has none."""
    int8: bool = False
    """Whether the student ends in integers."""


class StepSpec(Spec, ABC):
    """An entry of the recipe's ordered `steps:` list."""

    kind: str

    @abstractmethod
    def stage(self, job: StepJob) -> StageSpec:
        """Return the stage that does this step for one arm and seed."""

    def terms(self) -> tuple[Any, ...]:
        """Return the ObjectiveSpecs that this step states; none where it has none, or chooses them itself."""
        return ()

    def named(self, name: Callable[[int, Taps, TapSort], tuple[TapPair, ...]]) -> StepSpec:
        """Return this step with every objective's pairs of places by name.

        Args:
            name: (number of an objective, its taps, their sort) -> what they mean in the recipe's models.
        """
        return self

    def reads_teacher(self) -> bool:
        """Return whether what this step trains learns from the teacher's outputs."""
        return False

    def teaches(self) -> TeacherSpec | None:
        """Return how the model that this step leaves is loaded as a teacher, where it trains an assistant, which teaches the
        steps after it in the teacher's place; None where it trains the student."""
        return None

    def chooses(self) -> bool:
        """Return whether the student is kept only where it beats the hard-label control on the validation rows."""
        return False

    def is_last(self) -> bool:
        """Return whether what this step leaves would be lost by any step after it."""
        return False

    def leaves_integers(self) -> bool:
        """Return whether this step leaves a student in 8 bits or fewer."""
        return False

    def starts_trained(self) -> bool:
        """Return whether this step needs a student that was trained before."""
        return False

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        """Return (path within the step, message) for what cannot work, before any compute."""
        return []


registry: Registry[StageSpec] = Registry("stages")
steps: Registry[StepSpec] = Registry("steps")
