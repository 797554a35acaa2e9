"""Counter-based draws: pure, uniform, and without a trace of one counter in another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from potstill.core import rng

IDS = np.arange(4000)


def test_a_draw_depends_on_its_own_counters_only() -> None:
    whole = rng.uniform(7, IDS, 2, "flip", 3)
    picked = np.random.default_rng(0).permutation(4000)[:100]
    assert np.array_equal(rng.uniform(7, picked, 2, "flip", 3), whole[picked])
    assert np.array_equal(rng.uniform(7, IDS[5:6], 2, "flip", 3)[0], whole[5])
    assert np.array_equal(rng.uniform(7, IDS, 2, "flip", 1), whole[:, :1]), "more draws do not change the first"


def test_the_stream_stays_what_it_is() -> None:
    """Every stored label and every split hangs on these words."""
    assert rng.bits(3, np.array([0, 41]), 1, "shift", 2).tolist() == WORDS
    assert rng.seed_of("order", 5) == SEED
    assert rng.permutation(2, 1, 8).tolist() == ORDER


WORDS = [[6581905243942984869, 7096195245476294766], [5369344627180274304, 11504233612746130716]]
SEED = 7797401737299608900
ORDER = [1, 6, 2, 4, 5, 0, 7, 3]


STREAMS = {
    "ids": lambda: rng.uniform(0, IDS, 0, "op")[:, 0],
    "sparse ids": lambda: rng.uniform(0, IDS * 2**20, 0, "op")[:, 0],
    "negative ids": lambda: rng.uniform(0, -IDS - 1, 0, "op")[:, 0],
    "views": lambda: np.array([rng.uniform(0, IDS[:1], view, "op")[0, 0] for view in range(4000)]),
    "seeds": lambda: np.array([rng.uniform(seed, IDS[:1], 0, "op")[0, 0] for seed in range(4000)]),
    "draws": lambda: rng.uniform(0, IDS[:1], 0, "op", 4000)[0],
}
"""4,000 draws along each counter, the others held."""


@pytest.mark.parametrize("along", STREAMS)
def test_draws_are_uniform_and_follow_no_pattern_along(along: str) -> None:
    draws = STREAMS[along]()
    assert draws.min() >= 0 and draws.max() < 1
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    for lag in (1, 2, 3, 64):  # of independent draws, r is normal with deviation 1 / sqrt(n)
        assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 4 / np.sqrt(4000)


def test_neighbouring_counters_are_independent() -> None:
    base = rng.uniform(0, IDS, 0, "op", 2)
    others = {
        "next view": rng.uniform(0, IDS, 1, "op")[:, 0], "next seed": rng.uniform(1, IDS, 0, "op")[:, 0],
        "other op": rng.uniform(0, IDS, 0, "op2")[:, 0], "next draw": base[:, 1],
    }  # fmt: skip
    for name, other in others.items():
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 4 / np.sqrt(4000), name
        counts = np.histogram2d(base[:, 0], other, bins=8, range=((0, 1), (0, 1)))[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3, name


def test_seed_of_keeps_parts_apart() -> None:
    seeds = {
        rng.seed_of(1, 23),
        rng.seed_of(12, 3),
        rng.seed_of("1", "2", "3"),
        rng.seed_of(123),
        rng.seed_of("order", 1),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_permutation_is_one_and_moves_with_each_argument() -> None:
    first = rng.permutation(0, 0, 500)
    assert sorted(first) == list(range(500))
    assert np.array_equal(first, rng.permutation(0, 0, 500))
    for other in (rng.permutation(1, 0, 500), rng.permutation(0, 1, 500)):
        assert (first == other).mean() < 0.02
    assert rng.permutation(0, 0, 0).tolist() == [] and rng.permutation(0, 0, 1).tolist() == [0]


def test_every_order_of_three_is_as_likely() -> None:
    orders = [tuple(rng.permutation(9, epoch, 3)) for epoch in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3
