"""Where in one arena each tensor lies: tensors that live at the same time never overlap."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from potstill.mcu.code import Program, Value
from potstill.mcu.model import Op

_ALIGNMENT = 4
_TRIED = 2_000_000
"""Pairs of blocks that are looked at while orders are tried; the search is the same each time."""


@dataclass(frozen=True)
class Block:
    """Memory that is held from one call to another."""

    name: str
    size: int
    first: int
    """Call before which it is filled; -1 is the caller's."""
    last: int


@dataclass(frozen=True)
class Plan:
    """Blocks with their offsets in the arena."""

    blocks: tuple[Block, ...]
    offsets: tuple[int, ...]
    owner: dict[int, int]
    """Tensor -> its block."""
    scratch: dict[int, int]
    """Call -> its block."""
    arena: int
    """Bytes."""
    bound: int
    """Most bytes that are held at once: no plan needs fewer."""

    def offset(self, tensor: int) -> int:
        """Return where a tensor begins."""
        return self.offsets[self.owner[tensor]]


def plan_memory(program: Program) -> Plan:
    """Return a plan of all that is computed; one tensor may lie where another ended, or over the input of the call that makes it."""
    spans, owner = _spans(program)
    blocks = [Block(program.model.tensors[t].name, size, first, last) for t, (size, first, last) in spans.items()]
    place = {t: i for i, t in enumerate(spans)}
    scratch = {}
    for now, call in enumerate(program.calls):
        if call.scratch:
            scratch[now] = len(blocks)
            blocks.append(Block(f"scratch of operator {call.op.index}", call.scratch, now, now))
    bound = max(
        (sum(_up(b.size) for b in blocks if b.first <= now <= b.last) for now in range(-1, len(program.calls) + 1)),
        default=0,
    )
    offsets, arena = _packed(blocks, bound)
    return Plan(tuple(blocks), tuple(offsets), {t: place[o] for t, o in owner.items()}, scratch, arena, bound)


def _spans(program: Program) -> tuple[dict[int, tuple[int, int, int]], dict[int, int]]:
    """Return ({tensor with memory of its own: (bytes, first call, last call)}, {tensor: the one whose memory it has})."""
    model, end = program.model, len(program.calls)
    first: dict[int, int] = {program.base(i): -1 for i in model.inputs}
    last: dict[int, int] = dict.fromkeys(first, -1)
    for now, call in enumerate(program.calls):
        for arg in call.args:
            if isinstance(arg, Value):
                t = program.base(arg.tensor)
                first.setdefault(t, now)
                last[t] = now
    outputs = {program.base(i) for i in model.outputs}
    last.update(dict.fromkeys(outputs, end))
    home = {t: t for t in first}

    def root(t: int) -> int:
        while home[t] != t:
            t = home[t]
        return t

    spans = {t: (model.tensors[t].bytes, first[t], last[t]) for t in first}
    for now, call in enumerate(program.calls):
        made = program.base(_made(call.op))
        for source in (root(program.base(i)) for i in call.over):
            size, start, stop = spans[source]
            if stop == now and size == spans[made][0] and home[made] == made and first[made] == now and source != made:
                home[made] = source
                spans[source] = (size, start, spans.pop(made)[2])
                break
    owner = {i: root(program.base(i)) for i in range(len(model.tensors)) if program.base(i) in first}
    return spans, owner


def _made(op: Op) -> int:
    return op.outputs[0]


def _up(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _packed(blocks: Sequence[Block], bound: int) -> tuple[list[int], int]:
    """Return (offsets, bytes of the arena): each block at the lowest place that is free, in the best of many orders."""
    beside = [
        [j for j, o in enumerate(blocks) if j != i and o.first <= b.last and b.first <= o.last]
        for i, b in enumerate(blocks)
    ]
    numbers = range(len(blocks))
    order = sorted(numbers, key=lambda i: (-blocks[i].size, blocks[i].first))
    longest = sorted(numbers, key=lambda i: (blocks[i].first - blocks[i].last, -blocks[i].size))
    best, best_size = _placed(blocks, order, beside)
    found, size = _placed(blocks, longest, beside)
    if size < best_size:
        order, best, best_size = longest, found, size
    rng = random.Random(0)
    for _ in range(_TRIED // (1 + len(blocks) ** 2)):
        if best_size <= bound or len(blocks) < 3:
            break
        tried = list(order)
        i, j = rng.sample(numbers, 2)
        tried.insert(j, tried.pop(i))
        found, size = _placed(blocks, tried, beside)
        if size <= best_size:
            order, best, best_size = tried, found, size
    return best, best_size


def _placed(blocks: Sequence[Block], order: Sequence[int], beside: Sequence[Sequence[int]]) -> tuple[list[int], int]:
    offsets = [-1] * len(blocks)
    for i in order:
        at = 0
        for start, size in sorted((offsets[j], blocks[j].size) for j in beside[i] if offsets[j] >= 0):
            if at + blocks[i].size <= start:
                break
            at = max(at, _up(start + size))
        offsets[i] = at
    return offsets, max((_up(o + b.size) for o, b in zip(offsets, blocks, strict=True)), default=0)
