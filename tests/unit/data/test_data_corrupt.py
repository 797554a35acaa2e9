"""Corruptions of series: pure, as strong as they say, worse with severity. Shapes: T steps, V variables."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.data.corrupt.series import CORRUPTIONS, DRIFT, DROPOUT, SKEW, SPIKES, clock_skew, drift, dropout, spikes

T, V = 400, 3
SAMPLE = np.cumsum(np.random.default_rng(0).normal(size=(T, V)), axis=0).astype(np.float32)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_corruption_is_a_pure_function_that_does_something(name: str, severity: int) -> None:
    corrupt, before = CORRUPTIONS[name], SAMPLE.copy()
    found = corrupt(SAMPLE, severity, 7)
    assert found.shape == SAMPLE.shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.array_equal(SAMPLE, before)
    assert np.array_equal(found, corrupt(SAMPLE.copy(), severity, 7))
    assert not np.array_equal(found, SAMPLE)
    assert any(not np.array_equal(found, corrupt(SAMPLE, severity, seed)) for seed in range(5))


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_it_grows_with_severity_and_knows_no_other(name: str) -> None:
    corrupt = CORRUPTIONS[name]
    sizes = [np.mean([np.abs(corrupt(SAMPLE, s, seed) - SAMPLE).mean() for seed in range(20)]) for s in range(1, 6)]
    assert sizes == sorted(sizes)
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity must be 1 to 5; got severity={severity}"):
            corrupt(SAMPLE, severity, 0)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_the_strength_is_what_is_documented(severity: int) -> None:
    i = severity - 1
    lost = (dropout(SAMPLE, severity, 3) != SAMPLE).any(axis=1).mean()
    assert lost == pytest.approx(DROPOUT[i], abs=0.01)
    ramp = drift(SAMPLE, severity, 3).astype(np.float64) - SAMPLE
    np.testing.assert_allclose(np.abs(ramp[-1]), DRIFT[i] * SAMPLE.astype(np.float64).std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(ramp, np.linspace(0, 1, T)[:, None] * ramp[-1], atol=1e-4)
    there = spikes(SAMPLE, severity, 3) - SAMPLE
    assert (there != 0).mean() == pytest.approx(SPIKES[i], abs=1e-3)
    high = np.abs(there / SAMPLE.std(axis=0))[there != 0]
    assert high.min() >= 2.99 and high.max() <= 6.01
    ramp_in = np.linspace(0, 1, T, dtype=np.float32)[:, None]
    rate = clock_skew(ramp_in, severity, 3)[T // 2, 0] / ramp_in[T // 2, 0]
    assert abs(rate - 1) == pytest.approx(SKEW[i], abs=1e-4)


def test_a_lost_step_holds_the_last_value() -> None:
    found = dropout(SAMPLE, 5, 1)
    changed = np.flatnonzero((found != SAMPLE).any(axis=1))
    assert 0 not in changed
    for t in changed:
        assert np.array_equal(found[t], found[t - 1])


def test_what_is_constant_stays_finite() -> None:
    flat = np.full((16, 2), 3.0, np.float32)
    for corrupt in CORRUPTIONS.values():
        assert np.array_equal(corrupt(flat, 5, 0), flat)
