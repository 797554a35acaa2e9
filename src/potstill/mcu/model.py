"""A .tflite file as tensors and operators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import ExportError


def _none() -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor; a constant has its data."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As NumPy calls it."""
    scales: NDArray[Any] = field(default_factory=_none)
    """float32, one or one per index of `axis`; none where it is not quantised."""
    zero_points: NDArray[Any] = field(default_factory=_none)
    axis: int = 0
    data: NDArray[Any] | None = None
    """[*shape] of a constant."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all elements."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def scale(self) -> float:
        """The scale of a tensor that has one."""
        return float(self.scales[0])

    @property
    def zero(self) -> int:
        """The zero point of a tensor that has one."""
        return int(self.zero_points[0])


@dataclass(frozen=True)
class Op:
    """An operator."""

    index: int
    """In the file."""
    kind: str
    """As the schema calls it."""
    inputs: tuple[int, ...]
    """Tensors; -1 where an optional one is left out."""
    outputs: tuple[int, ...]
    options: Mapping[str, float]
    """Its settings by name; whole numbers but for `beta` and `alpha`."""

    def whole(self, name: str) -> int:
        """Return an option that is a whole number."""
        return int(self.options[name])


@dataclass(frozen=True)
class Model:
    """A graph in an order in which it can run."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def refuse(self, op: Op, requirement: str, got: str) -> ExportError:
        """Return the error of an operator that is not expressed in C: its place in the file, its layer, the reason and what to use
        instead."""
        layer = self.tensors[op.outputs[0]].name if op.outputs else ""
        return ExportError(
            f"{self.name} operator {op.index} ({op.kind}, layer {layer!r}): {requirement}; got {got}. Nothing was written. Change the layer, or "
            "run the file itself on the device: as a C array (xxd -i) in TensorFlow Lite Micro's interpreter with its arena."
        )
