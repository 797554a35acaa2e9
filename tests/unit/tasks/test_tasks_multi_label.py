"""Figures of several classes a row, against scikit-learn. Shapes: N rows, K classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from potstill.core.errors import DataError, ShapeError
from potstill.tasks import Truth
from potstill.tasks.multi_label_classification import MultiLabelClassificationSpec

TASK = MultiLabelClassificationSpec()
RNG = np.random.default_rng(3)
FLAGS = (RNG.random((200, 6)) < [0.5, 0.3, 0.1, 0.05, 0.6, 0.2]).astype(np.float32)
LOGITS = ((2 * FLAGS - 1) + RNG.normal(scale=1.5, size=FLAGS.shape)).astype(np.float32)
LABELS, NAMES = np.zeros(200, np.int64), list("abcdef")


@pytest.mark.parametrize("weighted", [False, True])
def test_figures_are_those_of_scikit_learn(weighted: bool) -> None:
    weights = RNG.random(200).astype(np.float32) + 0.1 if weighted else None
    found = TASK.metrics(LOGITS, Truth(LABELS, NAMES, FLAGS, weights))
    told, said, more = FLAGS > 0, LOGITS > 0, {"sample_weight": weights}
    assert found["sample_f1"] == pytest.approx(sk.f1_score(told, said, average="samples", zero_division=1, **more))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(told, said, average="micro", **more))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(told, said, average="macro", **more))
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(told, said, **more))
    assert found["hamming_accuracy"] == pytest.approx(1 - sk.hamming_loss(told, said, **more))
    assert found["macro_auroc"] == pytest.approx(sk.roc_auc_score(told, LOGITS, average="macro", **more))
    assert found["mean_average_precision"] == pytest.approx(
        np.mean([sk.average_precision_score(told[:, k], LOGITS[:, k], **more) for k in range(6)])
    )


def test_a_row_of_no_class_of_which_none_is_said_is_right() -> None:
    flags = np.zeros((2, 3), np.float32)
    said = np.array([[-1, -1, -1], [-1, 2, -1]], np.float32)
    assert TASK.correct(said, Truth(np.zeros(2, np.int64), list("abc"), flags)).tolist() == [1.0, 0.0]


def test_rows_without_targets_are_left_out() -> None:
    labels, flags = LABELS.copy(), FLAGS.copy()
    labels[::3], flags[::3] = -1, np.nan
    known = labels >= 0
    assert TASK.metrics(LOGITS, Truth(labels, NAMES, flags)) == TASK.metrics(
        LOGITS[known], Truth(labels[known], NAMES, flags[known])
    )


def test_what_cannot_be_judged_is_named() -> None:
    with pytest.raises(DataError, match="one label a row"):
        TASK.metrics(LOGITS, Truth(LABELS, NAMES))
    with pytest.raises(ShapeError, match=r"must be \[200, 6\].*got \[200, 5\]"):
        TASK.metrics(LOGITS[:, :5], Truth(LABELS, NAMES, FLAGS))
    broken = LOGITS.copy()
    broken[7, 2] = np.inf
    with pytest.raises(DataError, match="NaN or Inf in row 7"):
        TASK.metrics(broken, Truth(LABELS, NAMES, FLAGS))
