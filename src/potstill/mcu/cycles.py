"""Cycles of instructions that were counted: an interval, since caches, wait states and the memory's bus are not emulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LEAST, _MOST, _MOST_DENSE = 1.23, 1.5, 1.8
_SOURCE = (
    "1.23 to 1.5 cycles an instruction, to 1.8 where most products are of fully connected layers, whose weights are read from flash once each: as the "
    "prototype of these kernels predicted them; no board was timed"
)


def cycles(core: str, instructions: int, operators: Sequence[dict[str, Any]]) -> tuple[tuple[float, float] | None, str]:
    """Return ((least, most) cycles of one inference, where the interval is from); None for a core whose cycles are not known.

    Args:
        core: as `build.CORES` names it.
        instructions: of one inference.
        operators: of the report of generated C.
    """
    if core != "cortex-m4":
        return None, f"cycles an instruction are known for cortex-m4 alone, not for {core}"
    macs = sum(op["macs"] for op in operators)
    dense = sum(op["macs"] for op in operators if op["kind"] == "FULLY_CONNECTED")
    return (_LEAST * instructions, (_MOST_DENSE if 2 * dense > macs else _MOST) * instructions), _SOURCE
