"""What the report keeps of a sample."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.core.samples import FORMS, SampleKind
from potstill.pipeline.shown import shown, spectrogram
from potstill.testing import tiny


@pytest.mark.parametrize("kind", list(FORMS))
def test_every_kind_is_shown(kind: SampleKind) -> None:
    sample = tiny.samples(kind, 3)[1]
    kept, picture = shown(kind, sample, 8000.0)
    if kind in ("image", "audio"):
        assert picture is not None and picture.dtype == np.uint8 and picture.ndim == 3
    if kind == "series":
        assert picture is None and np.allclose(np.array(kept["values"]).T, sample, rtol=1e-3)
    if kind == "text":
        assert kept["text"] == bytes(sample).rstrip(b"\0").decode()


def test_a_long_series_is_thinned_from_end_to_end() -> None:
    values = shown("series", np.arange(1000, dtype=np.float32)[:, None], None)[0]["values"]
    assert len(values[0]) == 160 and values[0][0] == 0 and values[0][-1] == 999


@pytest.mark.parametrize("num", [10, 4000, 16000])
def test_a_tone_is_brightest_at_its_height(num: int) -> None:
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(num) / 8000)).astype(np.int16)
    picture = spectrogram(tone, 8000.0)
    assert picture.shape[2] == 3 and picture.shape[1] >= 1
    if num > 10:
        brightest = picture.sum(axis=(1, 2)).argmax()
        assert abs((len(picture) - 1 - brightest) / len(picture) - 0.25) < 0.03, "1,000 of 4,000 Hz, from the bottom"
