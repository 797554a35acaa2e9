"""What the generated function is made of: calls of kernels over values, constants and scratch memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from potstill.mcu.model import Model, Op


@dataclass(frozen=True)
class Value:
    """Where a tensor's bytes lie, `offset` into it."""

    tensor: int
    offset: int = 0


@dataclass(frozen=True)
class Scratch:
    """The call's own memory."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A static array, or a static struct."""

    ctype: str
    values: Any
    """A sequence of numbers; of a struct its fields in order, arrays as sequences."""
    struct: bool = False


@dataclass(frozen=True)
class Raw:
    """C as it stands."""

    text: str


Arg: TypeAlias = "int | Value | Scratch | Constant | Raw"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a kernel."""

    op: Op
    kernel: str
    args: Sequence[Arg]
    scratch: int = 0
    """Bytes."""
    macs: int = 0
    over: tuple[int, ...] = ()
    """Inputs that the output may be written over."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the number of its instructions is modelled from."""


@dataclass(frozen=True)
class Program:
    """A model as calls."""

    model: Model
    calls: tuple[Call, ...]
    views: dict[int, int]
    """Tensor -> the one whose bytes it is."""
    taps: int
    """Most taps of a depthwise window; 0 where there is none."""

    def base(self, tensor: int) -> int:
        """Return the tensor whose bytes a view is."""
        while tensor in self.views:
            tensor = self.views[tensor]
        return tensor

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(call.macs for call in self.calls)
