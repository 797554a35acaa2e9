"""Metrics of forecasts against scikit-learn's. Shapes: N rows, H horizon, V variables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from potstill.core.errors import DataError, ShapeError
from potstill.tasks import Truth
from potstill.tasks.timeseries_forecasting import TimeseriesForecastingSpec

TASK = TimeseriesForecastingSpec()
N, H, V = 40, 6, 3


def case(weights: bool = False) -> tuple[np.ndarray, Truth]:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(N, H, V)).astype(np.float32)
    outputs = (targets + 0.5 * rng.normal(size=targets.shape)).astype(np.float32)
    given = rng.uniform(0.5, 3, N).astype(np.float32) if weights else None
    return outputs, Truth(np.zeros(N, np.int64), ["a", "b", "c"], targets, given)


@pytest.mark.parametrize("weights", [False, True])
def test_figures_are_those_of_scikit_learn(weights: bool) -> None:
    outputs, truth = case(weights)
    found = TASK.metrics(outputs, truth)
    assert truth.targets_NHV is not None
    flat = (truth.targets_NHV.reshape(N, -1), outputs.reshape(N, -1))
    mse = sk.mean_squared_error(*flat, sample_weight=truth.weights_N)
    assert found["mse"] == pytest.approx(mse, rel=1e-6)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(*flat, sample_weight=truth.weights_N), rel=1e-6)
    assert found[TASK.headline] == pytest.approx(1 - mse, rel=1e-6)
    for v, entry in enumerate(found["per_variable"]):
        pair = (truth.targets_NHV[:, :, v], outputs[:, :, v])
        assert entry["mse"] == pytest.approx(sk.mean_squared_error(*pair, sample_weight=truth.weights_N), rel=1e-6)
        assert entry["mae"] == pytest.approx(sk.mean_absolute_error(*pair, sample_weight=truth.weights_N), rel=1e-6)
    assert len(found["mse_by_step"]) == H and np.mean(found["mse_by_step"]) == pytest.approx(mse, rel=1e-6)
    assert TASK.correct(outputs, truth).mean() == pytest.approx(found[TASK.headline], rel=1e-9)


def test_rows_without_targets_are_left_out_and_flat_outputs_are_taken() -> None:
    outputs, truth = case()
    labels = np.where(np.arange(N) % 4 == 0, -1, 0)
    outputs[labels < 0] = np.nan
    part = replace(truth, labels_N=labels)
    kept = truth.take(np.flatnonzero(labels == 0))
    assert TASK.metrics(outputs, part) == TASK.metrics(outputs[labels == 0], kept)
    assert len(TASK.correct(outputs, part)) == (labels == 0).sum()
    assert TASK.metrics(case()[0].reshape(N, -1), truth) == TASK.metrics(case()[0], truth)


def test_what_cannot_be_judged_is_refused() -> None:
    outputs, truth = case()
    with pytest.raises(ShapeError, match=r"\[40, 6, 3\].*got \[40, 5, 3\]"):
        TASK.metrics(outputs[:, :5], truth)
    with pytest.raises(DataError, match="rows must have targets; this data has labels alone"):
        TASK.metrics(outputs, replace(truth, targets_NHV=None))
    with pytest.raises(DataError, match="got 40 rows, all without"):
        TASK.correct(outputs, replace(truth, labels_N=np.full(N, -1)))
    bad: Any = outputs.copy()
    bad[7, 0, 0] = np.inf
    with pytest.raises(DataError, match="got NaN or Inf in row 7"):
        TASK.correct(bad, truth)
