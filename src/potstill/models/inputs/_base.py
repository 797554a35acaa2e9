"""How samples are brought to a model. Shapes: B rows, X the shape of one input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats, SampleKind
from potstill.core.spec import Spec
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

Steps: TypeAlias = list[dict[str, Any]]
"""What is done to a sample, in order: "do" names it, the rest are its numbers."""
I = TypeVar("I", bound="InputSpec")  # noqa: E741 - the input's own type


class InputSpec(Spec, ABC):
    """What is done to a batch before a model reads it; each model states its own, each kind of sample has one."""

    kind: SampleKind

    @abstractmethod
    def resolved(self: I, io: ModelIO, stats: DataStats) -> I:
        """Return this input with every number decided, the data's own where none is stated; it is saved with the model.

        Args:
            io: of the data.
            stats: of the data's training split.

        Raises:
            ShapeError: a number does not fit the data.
        """

    @abstractmethod
    def preprocess(self, io: ModelIO) -> Preprocess:
        """Return the module that does it; of a resolved input. Loads torch."""

    @abstractmethod
    def seen(self, io: ModelIO) -> ModelIO:
        """Return what the model is built for: `io` of the data as `Preprocess` leaves it."""

    @abstractmethod
    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        """Return (what the host does, what is exported with the model), as `preprocess` does it; of a resolved input."""

    def must_read(self, io: ModelIO, where: str) -> None:
        """Raise ShapeError unless this input is for samples of the data's kind."""
        if self.kind != io.kind:
            raise ShapeError(
                f"{where}: must read what the data gives, {io.kind}; it reads {self.kind}. Use a model of that kind, or for "
                f"your own set input: {{kind: {io.kind}}}."
            )
