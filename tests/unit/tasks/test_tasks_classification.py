"""Metrics of image classification against scikit-learn's and SciPy's, and by hand where they have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from potstill.core.errors import DataError, ShapeError
from potstill.tasks import Truth
from potstill.tasks._stats import ECE_BINS, calibration, softmax, wilson
from potstill.tasks.image_classification import ImageClassificationSpec

TASK = ImageClassificationSpec()


def case(seed: int, rows: int, classes: int, skill: float, absent: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels; the last `absent` classes never occur and are never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(
        classes - absent, rows, p=np.arange(1, classes - absent + 1) / np.arange(1, classes - absent + 1).sum()
    )
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += skill
    logits[:, classes - absent :] -= 50
    return logits.astype(np.float32), labels


@pytest.mark.parametrize(
    ("rows", "classes", "skill", "absent"),
    [(400, 10, 1.0, 0), (60, 10, 0.0, 3), (300, 25, 2.0, 0), (30, 2, 0.5, 0), (7, 12, 1.0, 5), (1, 3, 1.0, 0)],
)
def test_figures_are_those_of_scikit_learn(rows: int, classes: int, skill: float, absent: int) -> None:
    logits, labels = case(rows, rows, classes, skill, absent)
    names = [f"class {k}" for k in range(classes)]
    found = TASK.metrics(logits, Truth(labels, names))
    predicted, p = logits.argmax(1), softmax(logits)
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
        "balanced_accuracy": sk.recall_score(
            labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
        ),
        "nll": sk.log_loss(labels, p, labels=np.arange(classes)),
    }
    assert {k: found[k] for k in expected} == {k: pytest.approx(v, rel=1e-9) for k, v in expected.items()}
    assert found["confusion"] == sk.confusion_matrix(labels, predicted, labels=np.arange(classes)).tolist()
    each = sk.precision_recall_fscore_support(labels, predicted, labels=np.arange(classes), zero_division=0)
    for k, entry in enumerate(found["per_class"]):
        assert entry["name"] == names[k]
        figures = [entry[n] for n in ("precision", "recall", "f1", "support")]
        assert figures == pytest.approx([column[k] for column in each])
    if classes > 10:
        top5 = sk.top_k_accuracy_score(labels, p, k=5, labels=np.arange(classes))
        assert found["top5_accuracy"] == pytest.approx(top5)
    else:
        assert "top5_accuracy" not in found


def ece_by_hand(p: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. 2017, eq. 3, a row at a time."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(ECE_BINS)]
    for row, label in zip(p, labels, strict=True):
        bins[min(int(row.max() * ECE_BINS), ECE_BINS - 1)].append((row.max(), row.argmax() == label))
    return sum(
        len(b) / len(labels) * abs(sum(c for c, _ in b) / len(b) - sum(hit for _, hit in b) / len(b)) for b in bins if b
    )


@pytest.mark.parametrize("skill", [0.0, 1.0, 6.0])
def test_calibration_is_the_definition(skill: float) -> None:
    logits, labels = case(3, 500, 10, skill)
    p = softmax(logits)
    error, bins = calibration(p, labels)
    assert error == pytest.approx(ece_by_hand(p, labels), rel=1e-9)
    assert TASK.metrics(logits, Truth(labels, list("abcdefghij")))["ece"] == error
    assert [b["low"] for b in bins] == [pytest.approx(i / 15) for i in range(15)] and bins[-1]["high"] == 1
    assert sum(b["count"] for b in bins) == 500
    for b in bins:
        inside = (p.max(1) >= b["low"]) & (p.max(1) < b["high"] + (b["high"] == 1))
        assert b["count"] == inside.sum() and (b["count"] == 0) == (b["confidence"] is None)
        if b["count"]:
            assert b["low"] <= b["confidence"] <= b["high"]


def test_calibration_at_its_ends() -> None:
    """All sure and right: no error. All sure and wrong: 1. A confidence of 1 belongs to the last bin."""
    sure = np.eye(4)
    assert calibration(sure, np.arange(4))[0] == 0
    error, bins = calibration(sure, (np.arange(4) + 1) % 4)
    assert error == 1 and bins[-1]["count"] == 4


def test_rows_without_a_label_are_left_out_of_every_figure() -> None:
    logits, labels = case(4, 200, 10, 1.0)
    hidden = labels.copy()
    hidden[::3] = -1
    names = list("abcdefghij")
    assert TASK.metrics(logits, Truth(hidden, names)) == TASK.metrics(
        logits[hidden >= 0], Truth(labels[hidden >= 0], names)
    )
    broken = logits.copy()
    broken[0] = np.nan
    assert (
        TASK.metrics(broken, Truth(hidden, names))["accuracy"] == TASK.metrics(logits, Truth(hidden, names))["accuracy"]
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda z, y: (z[:, :9], y), ShapeError, r"must be \[50, 10\].*got \[50, 9\]"),
        (lambda z, y: (z[:49], y), ShapeError, r"got \[49, 10\]"),
        (lambda z, y: (z[:, 0], y), ShapeError, r"got \[50\]"),
        (lambda z, y: (z, np.full(50, -1)), DataError, "at least one row must have a label"),
        (lambda z, y: (z, y + 5), DataError, r"labels must be in 0\.\.9; got"),
        (lambda z, y: (np.where(np.arange(50)[:, None] == 7, np.inf, z), y), DataError, "NaN or Inf in row 7"),
    ],
)
def test_what_cannot_be_judged_is_named(change: Any, error: type[Exception], words: str) -> None:
    logits, labels = change(*case(5, 50, 10, 1.0))
    with pytest.raises(error, match=words):
        TASK.metrics(logits, Truth(labels, list("abcdefghij")))


@pytest.mark.parametrize("num", [1, 10, 629, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.37, 1.0])
def test_wilson_is_scipys(num: int, share: float) -> None:
    hits = round(share * num)
    interval = binomtest(hits, num).proportion_ci(method="wilson")
    assert wilson(hits, num) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_wilson_of_nothing_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_softmax_of_huge_logits_is_finite() -> None:
    p = softmax(np.array([[1e4, -1e4, 0.0], [1e-3, 0, 0]], np.float32))
    assert p.dtype == np.float64 and np.isfinite(p).all() and np.allclose(p.sum(1), 1) and p[0, 0] == 1
