"""Cycles of instructions that were counted: an interval, since caches, wait states and the memory's bus are not emulated."""

from __future__ import annotations

from collections.abc import Iterable

_LEAST, _MOST, _MOST_DENSE = 1.23, 1.5, 1.8
_SOURCE = (
    "1.23 to 1.5 cycles an instruction, to 1.8 where most products are of fully connected layers, whose weights are read from flash once each: as the "
    "prototype of these kernels predicted them; no board was timed"
)


def cycles(core: str, instructions: float, *, dense: bool) -> tuple[tuple[float, float] | None, str]:
    """Return ((least, most) cycles of one inference, where the interval is from); None for a core whose cycles are not known.

    Args:
        core: as `build.CORES` names it.
        instructions: of one inference.
        dense: whether most products are of fully connected layers.
    """
    if core != "cortex-m4":
        return None, f"cycles an instruction are known for cortex-m4 alone, not for {core}"
    return (_LEAST * instructions, (_MOST_DENSE if dense else _MOST) * instructions), _SOURCE


def mostly_dense(macs: Iterable[tuple[str, int]]) -> bool:
    """Return whether most multiply-accumulates, of pairs of an operator's kind and its count, are of fully connected layers."""
    found = [(kind == "FULLY_CONNECTED", n) for kind, n in macs]
    return 2 * sum(n for dense, n in found if dense) > sum(n for _, n in found)
