"""What an exporter is. Shapes: B rows, C channels, H, W pixels, K classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from potstill.core.spec import Registry, Spec

if TYPE_CHECKING:
    from torch import nn


class Artifact(Protocol):
    """An exported model in its own runtime."""

    path: Path

    def __call__(self, inputs_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32, as the module did."""
        ...


@dataclass(frozen=True)
class Parity:
    """An artifact against the module before it, over real samples."""

    max_abs_diff: float
    mean_abs_diff: float
    top1_agreement: float
    """Share of rows, [0, 1]."""
    batches: list[int]
    """Batch sizes that were compared."""
    num_rows: int
    tolerance: float


class ExporterSpec(Spec, ABC):
    """A format. Nothing is exported unchecked: the export stage compares the artifact before it keeps it."""

    kind: str
    tolerance: float

    @abstractmethod
    def export(self, module: nn.Module, example_BCHW: NDArray[Any], out: Path) -> Artifact:
        """Write the artifact into the folder `out` and open it. `module` is in eval mode and takes pixels in [0, 1]
        at its own size (normalisation is inside). `example_BCHW` has at least 2 rows.

        Raises:
            ExportError: the module cannot be expressed; names the operator or module.
            MissingExtraError: a package is missing.
        """

    @abstractmethod
    def load(self, path: Path, threads: int = 1) -> Artifact:
        """Open an artifact that `export` wrote, or a foreign one."""


registry: Registry[ExporterSpec] = Registry("exporters")
