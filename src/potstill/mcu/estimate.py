"""What generated C would take on a Cortex-M4, from a file's graph alone: no compiler, no emulator, nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.mcu.build import STACK_BYTES
from potstill.mcu.code import Constant, Program
from potstill.mcu.cycles import mostly_dense
from potstill.mcu.export import program_of
from potstill.mcu.instructions import shares, unfitted
from potstill.mcu.model import Model, Op
from potstill.mcu.oracle import check_unary
from potstill.mcu.plan import plan_memory
from potstill.mcu.read import parse

CODE = Path(__file__).parent / "code_m4.json"
"""{kernel: bytes of its code}, as gcc -O2 makes it; `benchmarks/mcu.py fit` writes it."""
CALL_BYTES, PROGRAM_BYTES = 64, 2560
"""Most code of a call, its arguments in it, and of the start-up code with the program that feeds a model: bounds, above all that
docs/results/mcu.md measured."""
_POINTER_BYTES = 4
_ITEMSIZES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}


@dataclass(frozen=True)
class Estimate:
    """What a model takes as generated C."""

    product_instructions: float
    """Modelled, of multiply-accumulates, one inference."""
    value_instructions: float
    """Modelled, of each value that is read or made."""
    place_instructions: float
    """Modelled, of calls, pixels and windows, however many channels there are."""
    unfitted: tuple[str, ...]
    """Kernels whose instructions are not modelled; the counts say nothing then."""
    dense: bool
    """Whether most multiply-accumulates are of fully connected layers."""
    arena_bytes: int
    """As planned, with the pointers of depthwise windows."""
    constant_bytes: int
    """Weights, biases, multipliers and tables."""
    kernel_bytes: int
    """Code of the kernels that are called."""
    calls: int

    @property
    def instructions(self) -> float:
        """All of them."""
        return self.product_instructions + self.value_instructions + self.place_instructions

    @property
    def ram_bytes(self) -> tuple[int, int]:
        """From the arena alone to what a build reserves, its stack too."""
        return self.arena_bytes, self.arena_bytes + STACK_BYTES

    @property
    def flash_bytes(self) -> tuple[int, int]:
        """From constants and kernels to a whole program."""
        least = self.constant_bytes + self.kernel_bytes
        return least, least + PROGRAM_BYTES + CALL_BYTES * self.calls

    def scaled(self, macs: float, params: float, activations: float) -> Estimate:
        """Return a model of the same layers with these shares of each."""
        return replace(
            self, product_instructions=self.product_instructions * macs, value_instructions=self.value_instructions * activations,
            arena_bytes=int(self.arena_bytes * activations), constant_bytes=int(self.constant_bytes * params),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "unfitted": list(self.unfitted)}


def estimate_of(found: dict[str, Any]) -> Estimate:
    """Return the estimate that `as_dict` gave."""
    return Estimate(**{**found, "unfitted": tuple(found["unfitted"])})


def estimate(data: bytes, name: str) -> Estimate:
    """Return what a .tflite file takes as generated C.

    Args:
        data: of the file.
        name: of the file, for errors.

    Raises:
        ExportError: it does not become C; names the operator, its layer and the reason.
    """
    program = program_of(parse(data, name), _any_tables)
    missing = unfitted(program)
    parts = (0.0, 0.0, 0.0) if missing else shares(program)
    kernels = {call.kernel for call in program.calls}
    return Estimate(
        *parts, tuple(missing), mostly_dense((call.op.kind, call.macs) for call in program.calls),
        plan_memory(program).arena + _POINTER_BYTES * program.taps, _constant_bytes(program), sum(_code()[k] for k in kernels),
        len(program.calls),
    )  # fmt: skip


def _any_tables(model: Model, ops: Sequence[Op]) -> dict[int, list[int]]:
    """Return tables of the right size, no two alike: what is in them costs nothing, and TensorFlow Lite Micro need not be there."""
    check_unary(model, ops)
    return {op.index: [op.index] * 256 for op in ops}


def _constant_bytes(program: Program) -> int:
    """Return the bytes of all constants, each once, whole words each."""
    sizes: dict[tuple[str, bytes], int] = {}
    for call in program.calls:
        for arg in call.args:
            if isinstance(arg, Constant) and arg.struct:
                values = sum(len(v) if isinstance(v, (list, tuple)) else 1 for v in arg.values)
                sizes[arg.ctype, repr(arg.values).encode()] = 4 * values
            elif isinstance(arg, Constant):
                held = np.asarray(arg.values)
                size = held.size * _ITEMSIZES[arg.ctype]
                sizes[arg.ctype, held.tobytes()] = -(-size // 4) * 4
    return sum(sizes.values())


@cache
def _code() -> dict[str, int]:
    found: dict[str, int] = atomic.read_json(CODE)
    return found
