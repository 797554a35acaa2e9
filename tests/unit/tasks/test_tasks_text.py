"""Texts of no class, and the area under the ROC curve, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from potstill.tasks import Truth
from potstill.tasks._stats import auroc
from potstill.tasks.text_classification import TextClassificationSpec, rejection

RNG = np.random.default_rng(5)
CLASSES = ["a", "b", "c"]


def test_auroc_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    scores, positive, weights = np.round(RNG.random(400), 1), RNG.random(400) < 0.3, RNG.random(400) + 0.1
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert auroc(scores, positive, weights) == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights))
    assert auroc(scores, np.ones(400, bool)) is None and auroc(scores, np.zeros(400, bool)) is None


def test_macro_auroc_is_the_mean_over_classes_that_occur() -> None:
    outputs, labels = RNG.normal(size=(300, 3)).astype(np.float32), RNG.integers(0, 3, 300)
    probabilities = np.exp(outputs.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = TextClassificationSpec().metrics(outputs, Truth(labels, CLASSES))["macro_auroc"]
    assert found == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"))
    two = np.where(labels == 2, 0, labels)
    expected = np.mean([roc_auc_score(two == k, probabilities[:, k]) for k in (0, 1)])
    assert TextClassificationSpec().metrics(outputs, Truth(two, CLASSES))["macro_auroc"] == pytest.approx(expected)


def test_out_of_scope_rows_are_judged_only_where_the_task_says_so() -> None:
    outputs, labels = RNG.normal(size=(200, 3)).astype(np.float32), RNG.integers(-1, 3, 200)
    truth = Truth(labels, CLASSES)
    plain = TextClassificationSpec().metrics(outputs, truth)
    judged = TextClassificationSpec(unlabelled="out-of-scope").metrics(outputs, truth)
    assert "rejection" not in plain and {k: v for k, v in judged.items() if k != "rejection"} == plain
    assert judged["rejection"]["num_outside"] == int((labels < 0).sum())
    assert "rejection" not in TextClassificationSpec(unlabelled="out-of-scope").metrics(
        outputs, Truth(np.abs(labels), CLASSES)
    )


def test_rejection_at_a_threshold_that_accepts_95_percent() -> None:
    inside, outside = np.arange(100) / 100, np.array([0.0, 0.03, 0.2, 0.99])
    found = rejection(inside, outside)
    assert found["threshold"] <= 0.05 and (inside >= found["threshold"]).mean() >= 0.95
    assert found["false_accept_rate"] == 0.5
    assert found["auroc"] == pytest.approx(roc_auc_score([1] * 100 + [0] * 4, np.concatenate([inside, outside])))
    perfect = rejection(np.ones(10), np.zeros(5))
    assert perfect["auroc"] == 1 and perfect["false_accept_rate"] == 0
