"""What a task is. Shapes: N rows, K classes, H horizon, V variables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.outputs import TaskOutput
from potstill.core.samples import SampleKind
from potstill.core.spec import Registry, Spec

if TYPE_CHECKING:
    from potstill.data.dataset import Dataset, Split


Unit = Literal["share", "error"]


@dataclass(frozen=True)
class Truth:
    """What outputs are judged by."""

    labels_N: NDArray[Any]
    """int64, -1 where a row has none."""
    classes: list[str]
    """Names in label order; of the variables of values."""
    targets_NHV: NDArray[Any] | None = None
    """float32, the values that were to be forecast, or [N, K] the classes of a row; uint8 [N, L], the text that was to be written
    (UTF-8); None where labels say it all."""
    weights_N: NDArray[Any] | None = None
    """float32 > 0, what a row counts; None counts all alike."""

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> Truth:
        """Return the truth of a whole split, hidden labels included."""
        return cls.of_split(dataset.splits[split], dataset.classes)

    @classmethod
    def of_split(cls, split: Split, classes: list[str]) -> Truth:
        """Return the truth of a split whose classes, or variables, are these."""
        return cls(np.asarray(split.labels), classes, split.targets, split.weights)

    def take(self, rows_B: NDArray[Any]) -> Truth:
        """Return that of some rows."""
        targets = None if self.targets_NHV is None else self.targets_NHV[rows_B]
        weights = None if self.weights_N is None else self.weights_N[rows_B]
        return Truth(self.labels_N[rows_B], self.classes, targets, weights)


class TaskSpec(Spec, ABC):
    """What is predicted and how it is judged; NumPy only."""

    headline: ClassVar[str]
    """Name of the metric that the verdict compares, larger is better, at most 1."""
    called: ClassVar[str] = "accuracy"
    """What the report calls the headline; of an error, the error's name."""
    unit: ClassVar[Unit] = "share"
    """How the headline is shown: a share as such as 93 %; an error, which is 1 minus the headline, as a number."""
    output: ClassVar[TaskOutput]
    """What a model of this task gives; an objective that does not teach it is refused."""
    reads: ClassVar[tuple[SampleKind, ...]]
    """The kinds of sample that it is about."""
    kind: str

    @abstractmethod
    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return every metric as JSON-ready values, over the rows that have a label; the headline among them."""

    @abstractmethod
    def correct(self, outputs_NX: NDArray[Any], truth: Truth) -> NDArray[Any]:
        """Return float64 of each row's share of the headline metric, rows without a label (-1) left out.

        Its mean is the headline that `metrics` gives: of rows with weights, each share is times weight over mean weight.
        """


registry: Registry[TaskSpec] = Registry("tasks")
