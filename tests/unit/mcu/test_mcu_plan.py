"""The plan of memory: what lives at the same time never overlaps, and the arena is near what no plan can go below."""

from __future__ import annotations

import numpy as np
import pytest
from _mcu_models import network

from potstill.mcu.plan import Block, _packed


def random_blocks(seed: int) -> list[Block]:
    rng = np.random.default_rng(seed)
    blocks = []
    for i in range(int(rng.integers(2, 30))):
        first = int(rng.integers(0, 20))
        blocks.append(Block(str(i), int(rng.integers(1, 5000)), first, first + int(rng.integers(0, 5))))
    return blocks


@pytest.mark.parametrize("seed", range(20))
def test_blocks_that_live_together_lie_apart(seed: int) -> None:
    blocks = random_blocks(seed)
    bound = max(sum(-(-b.size // 4) * 4 for b in blocks if b.first <= t <= b.last) for t in range(26))
    offsets, arena = _packed(blocks, bound)
    for i, (a, at) in enumerate(zip(blocks, offsets, strict=True)):
        assert at % 4 == 0 and 0 <= at <= arena - a.size
        for b, there in zip(blocks[:i], offsets[:i], strict=True):
            if a.first <= b.last and b.first <= a.last:
                assert at + a.size <= there or there + b.size <= at, (a, b)
    assert bound <= arena <= 1.05 * bound


def test_a_value_is_written_over_the_one_that_ends_there() -> None:
    from potstill.mcu.export import generate
    from potstill.mcu.write import write_model

    made = generate(write_model(network()), "network.tflite")
    softmax = made.program.calls[-1]
    source, target = softmax.op.inputs[0], softmax.op.outputs[0]
    assert made.plan.owner[source] == made.plan.owner[target]
    assert made.plan.arena <= 1.05 * made.plan.bound
