"""What a task is. Shapes: N rows, K classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from potstill.core.outputs import TaskOutput
from potstill.core.spec import Registry, Spec


class TaskSpec(Spec, ABC):
    """What is predicted and how it is judged; NumPy only."""

    headline: ClassVar[str]
    """Name of the metric that the verdict compares, larger is better, in [0, 1]."""
    output: ClassVar[TaskOutput]
    """What a model of this task gives; an objective that does not teach it is refused."""
    kind: str

    @abstractmethod
    def metrics(self, outputs_NK: NDArray[Any], labels_N: NDArray[Any], classes: list[str]) -> dict[str, Any]:
        """Return every metric as JSON-ready values, over the rows that have a label; the headline among them."""

    @abstractmethod
    def correct(self, outputs_NK: NDArray[Any], labels_N: NDArray[Any]) -> NDArray[Any]:
        """Return float64 of each row's share of the headline metric, rows without a label (-1) left out.

        Its mean is the headline that `metrics` gives.
        """


registry: Registry[TaskSpec] = Registry("tasks")
