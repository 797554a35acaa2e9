"""What an exporter is. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from potstill.core.child import ChildSession
from potstill.core.errors import ExportError
from potstill.core.spec import Registry, Spec
from potstill.core.writing import Writing

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


class Artifact(Protocol):
    """An exported model in its own runtime."""

    path: Path

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32, as the module did; of a model that writes texts, [B, L] int64, the tokens that it writes."""
        ...


class WritingArtifact(Artifact, Protocol):
    """A model that writes texts, from ids [B, 2, L] of sources to tokens."""

    def fed(self, ids_B2L: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits [B, K] of each place, fed what stands before it in the second row."""
        ...


@dataclass(frozen=True)
class Part:
    """One graph of an artifact that has several."""

    suffix: str
    """Of its file's name; "" for the first, which says what the artifact is."""
    module: nn.Module
    """In eval mode."""
    example: tuple[Any, ...]
    """What its forward takes: tensors, and lists of tensors."""
    inputs: list[str]
    """A name for each tensor."""
    outputs: list[str]
    open: tuple[Any, ...]
    """As `example`, of each tensor its dimensions that are not fixed: {number: name}."""
    bounds: Mapping[str, tuple[int, int]]
    """Least and most of each name."""


@dataclass(frozen=True)
class Parity:
    """An artifact against the module before it, over real samples."""

    max_abs_diff: float
    mean_abs_diff: float
    top1_agreement: float | None
    """Share of rows, [0, 1]; None where the model gives values, not classes."""
    batches: list[int]
    """Batch sizes that were compared."""
    num_rows: int
    tolerance: float
    """Of the largest difference; of a quantised model in codes, which 99 % of them must keep."""
    codes_equal: float | None = None
    """Of a quantised model, share of the output's codes that are those of the model that rounds in float32, [0, 1]."""
    codes_max: float | None = None
    """Largest difference in codes."""
    top1_float: float | None = None
    """Share of rows, [0, 1], on which the artifact agrees with the model before it was quantised; None of values."""
    agrees: str = "top-1"
    """What was compared in `top1_agreement`: the likeliest class, or the whole text."""


class ExporterSpec(Spec, ABC):
    """A format. Nothing is exported unchecked: the export stage compares the artifact before it keeps it."""

    suffix: ClassVar[str]
    """Of its files' names, with the dot."""
    runtime: ClassVar[str]
    """Module that opens its files, of `core`; what measures memory imports nothing else."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What it needs of the extra `runtimes`: looked for before anything is trained."""
    program: ClassVar[bool] = False
    """Whether its files are programs: one of foreign origin is run only where the user says so."""
    runs_in: ClassVar[tuple[str, ...]] = ()
    """What the names of published runtimes begin with that take its files, in devices/profiles."""
    integers: ClassVar[bool] = False
    """Whether it takes students alone that are quantised in int8_static_per_channel or int4_conv."""
    kind: str
    tolerance: float

    def parts(self, path: Path) -> list[Path]:
        """Return the files that opening an artifact reads, of which any could change what it does."""
        return [path]

    def check_tools(self) -> None:
        """Look for the programs that it needs, before anything is trained. Raises MissingExtraError where one is not installed."""

    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield self.runtime

    @abstractmethod
    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        """Write the artifact into the folder `out` and open it. `module` is in eval mode and takes what the host
        gives it: pixels in [0, 1] at its own size, tokens, or samples as they are (normalisation is inside). `example_BX` has at least 2 rows.
        `quant` has the numbers of its last part, `module` then being an nn.Sequential of what is done before and that part: the
        artifact must use these scales and zero points, and no others; what is done before stays in float.

        Raises:
            ExportError: the module cannot be expressed; names the operator or module.
            MissingExtraError: a package is missing.
        """

    def export_parts(self, parts: Sequence[Part], writing: Writing, out: Path) -> Artifact:
        """Write a model that writes texts into the folder `out` and open it; a format that has no way to do so refuses.

        Args:
            parts: as `exporters.model` makes them: one that is run anew for each token, or one that reads and one that writes.
            writing: how it does; kept with the artifact.
            out: folder.

        Raises:
            ExportError: as `export`.
        """
        raise ExportError(f"export.{self.kind}: the model must give one answer at once; it writes texts token by token, which this "
                          "format does not hold. Use kind: onnx.")  # fmt: skip

    def load(self, path: Path, threads: int = 1) -> Artifact:
        """Open an artifact that `export` wrote, or a foreign one: in a child process, since runtimes of native code may crash on a
        file that is damaged.

        Raises:
            PotstillError: it cannot be opened.
            MissingExtraError: the runtime is not installed.
        """
        return ChildSession(self.runtime, path, threads)


registry: Registry[ExporterSpec] = Registry("exporters")
