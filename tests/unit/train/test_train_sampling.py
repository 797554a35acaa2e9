"""Balanced sampling: every class as often in every pass, whatever it has of rows. Shapes: N rows."""

from __future__ import annotations

from collections import Counter

import numpy as np

from potstill.train.order import Order

LABELS = np.array([0] * 70 + [1] * 20 + [2] * 3 + [-1] * 17)
ROWS = np.arange(110) * 2 + 5


def passes(num: int, seed: int = 4) -> list[np.ndarray]:
    order = Order(ROWS, 16, seed, labels_N=LABELS)
    return [
        np.concatenate([order.at(p * order.steps_per_pass + i)[1] for i in range(order.steps_per_pass)])
        for p in range(num)
    ]


def test_every_class_is_as_frequent_and_the_unlabelled_keep_their_share() -> None:
    of = dict(zip(ROWS.tolist(), LABELS.tolist(), strict=True))
    for rows in passes(5):
        assert len(rows) == 110
        assert Counter(of[r] for r in rows.tolist()) == {-1: 17, 0: 31, 1: 31, 2: 31}


def test_rows_of_a_class_come_as_often_as_one_another() -> None:
    counts = Counter(np.concatenate(passes(40)).tolist())
    of_class = [np.array([counts[r] for r in ROWS[k == LABELS].tolist()]) for k in (0, 1, 2)]
    assert [sum(found) for found in of_class] == [31 * 40] * 3
    for found in of_class:
        assert found.max() - found.min() <= 0.5 * found.mean() + 8, (
            "drawn anew each pass, so no row is left out for long"
        )
    assert (of_class[0] > 0).all()


def test_it_is_a_pure_function_of_seed_and_step() -> None:
    assert all(np.array_equal(a, b) for a, b in zip(passes(3), passes(3), strict=True))
    assert not np.array_equal(passes(1)[0], passes(1, seed=5)[0])
    jumped = Order(ROWS, 16, 4, labels_N=LABELS)
    assert np.array_equal(jumped.at(2 * jumped.steps_per_pass)[1], passes(3)[2][:16])


def test_the_rows_left_over_go_to_classes_by_turns() -> None:
    labels = np.array([0] * 9 + [1] * 2)
    totals = Counter()
    order = Order(11, 11, 0, labels_N=labels)
    for p in range(60):
        found = Counter(labels[order.at(p)[1]].tolist())
        assert sorted(found.values()) == [5, 6]
        totals += found
    assert abs(totals[0] - totals[1]) < 25
