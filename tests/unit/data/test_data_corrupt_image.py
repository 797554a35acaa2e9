"""Corruptions of pictures: pure, as strong as they say, worse with severity. Shapes: H, W pixels, C channels."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.data.corrupt.image import (
    BRIGHTNESS,
    CONTRAST,
    CORRUPTIONS,
    NOISE,
    OCCLUSION,
    brightness,
    contrast,
    noise,
    occlusion,
)

_Y, _X = np.mgrid[:40, :36] / 39
SAMPLE = np.rint(60 + 120 * np.stack([_Y, _X, _Y * _X], axis=2)).astype(np.uint8)
SAMPLE[10:20, 5:25] = [30, 160, 90]  # an edge, which blur and JPEG need


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_a_pure_function_that_does_something(name: str, severity: int, channels: int) -> None:
    corrupt, sample = CORRUPTIONS[name], SAMPLE[..., :channels].copy()
    found = corrupt(sample, severity, 7)
    assert found.shape == sample.shape and found.dtype == np.uint8
    assert np.array_equal(sample, SAMPLE[..., :channels])
    assert np.array_equal(found, corrupt(sample.copy(), severity, 7)) and not np.array_equal(found, sample)
    another = any(not np.array_equal(found, corrupt(sample, severity, seed)) for seed in range(5))
    assert another == (name in ("noise", "occlusion")), "only these draw"


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_it_grows_with_severity_and_knows_no_other(name: str) -> None:
    corrupt = CORRUPTIONS[name]
    sizes = [
        np.mean([np.square(corrupt(SAMPLE, s, seed) - SAMPLE.astype(float)).mean() for seed in range(10)])
        for s in range(1, 6)
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity must be 1 to 5; got severity={severity}"):
            corrupt(SAMPLE, severity, 0)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_the_strength_is_what_is_documented(severity: int) -> None:
    i, plain = severity - 1, SAMPLE / 255
    assert (brightness(SAMPLE, severity, 0) / 255 - plain).mean() == pytest.approx(BRIGHTNESS[i], abs=0.02)
    left = (contrast(SAMPLE, severity, 0) / 255).std(axis=(0, 1)) / plain.std(axis=(0, 1))
    assert left == pytest.approx(CONTRAST[i], abs=0.02)
    assert (noise(SAMPLE, severity, 0) / 255 - plain).std() == pytest.approx(NOISE[i], abs=0.005)
    hidden = (occlusion(SAMPLE, severity, 1) == 128).all(axis=2)
    assert hidden.sum() >= round(OCCLUSION[i] * 36) ** 2 and (occlusion(SAMPLE, severity, 1) != SAMPLE).any()
