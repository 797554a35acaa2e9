"""Ranges against brute force over the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.compress.quant_calibrate import BINS, by_error, by_percentile
from potstill.compress.quant_specs import CalibrationSpec
from potstill.compress.quantize import prepared
from potstill.core.errors import DataError
from potstill.quant import rounding
from potstill.testing.modules import shortcut


def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=200_000), [7.0, -7.5]]).astype(np.float32)


def histogram(x: np.ndarray) -> tuple[torch.Tensor, float, float]:
    low, high = float(x.min()), float(x.max())
    return torch.histc(torch.from_numpy(x), BINS, low, high).double(), low, high


@pytest.mark.parametrize("percentile", [99.9, 99.0, 90.0])
def test_percentile_is_that_of_the_values(percentile: float) -> None:
    x = values()
    found = by_percentile(*histogram(x), percentile)
    expected = np.percentile(x, [(100 - percentile) / 2, 100 - (100 - percentile) / 2])
    width = float(x.max() - x.min()) / BINS
    assert np.abs(np.array(found) - expected).max() <= width
    assert by_percentile(*histogram(x), 100.0) == (float(x.min()), float(x.max()))


def test_mse_is_the_best_of_the_hundred() -> None:
    x = values()
    low, high = float(x.min()), float(x.max())
    errors = {}
    for percent in range(1, 101):
        near = (low * percent / 100, high * percent / 100)
        scale, zero = rounding.range_params(torch.tensor(near[0]), torch.tensor(near[1]))
        codes = np.clip(np.rint(x / scale.numpy()) + zero.numpy(), -128, 127)
        errors[near] = float((((codes - zero.numpy()) * scale.numpy() - x) ** 2).mean())
    found = by_error(*histogram(x))
    assert found in errors and errors[found] <= 1.02 * min(errors.values())
    assert errors[found] < 0.8 * errors[low, high], "outliers must be cut"


def test_min_max_is_that_of_all_batches() -> None:
    module, x = shortcut()
    fake = prepared(module, x[:2], lambda: [x[:5], x[5:]], "int8_static_per_channel", CalibrationSpec())
    found = fake.range_of("input")
    assert (float(found.low), float(found.high)) == (float(x.min()), float(x.max()))
    with torch.no_grad():
        inside = torch.relu(module.norm(module.first(x)))  # type: ignore[operator]
    found = fake.range_of("act/relu")
    assert float(found.low) == 0.0 and float(found.high) == pytest.approx(float(inside.max()), rel=1e-5)


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_other_methods_cut_and_repeat(method: str) -> None:
    module, x = shortcut()
    x[0, 0, 0, 0] = 40.0
    spec = CalibrationSpec(method=method, percentile=99.0)  # type: ignore[arg-type]
    first, again = (prepared(module, x[:2], lambda: [x], "int8_static_per_channel", spec).numbers() for _ in range(2))
    assert first == again
    whole = prepared(module, x[:2], lambda: [x], "int8_static_per_channel", CalibrationSpec()).numbers()
    narrower = first.values["input"].scale < whole.values["input"].scale
    assert narrower or method == "mse", "one value of 576 is worth its error to mse"


def test_values_that_are_not_finite_are_named() -> None:
    module, x = shortcut()
    x[3] = float("nan")
    with pytest.raises(DataError, match=r"finite.*'input'"):
        prepared(module, x[:2], lambda: [x], "int8_static_per_channel", CalibrationSpec())
    with pytest.raises(DataError, match="at least one batch"):
        prepared(module, x[:2], list, "int8_static_per_channel", CalibrationSpec())
