"""Damage done to sound: pure, of its kind, worse with severity, and what it says it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from potstill.core.mel import mel_shares
from potstill.data.corrupt.audio import BAND, CLIPPING, CORRUPTIONS, NOISE, SHIFT


def sound(num: int = 8000, seed: int = 0) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    t = np.arange(num) / 8000
    return np.rint(6000 * np.sin(2 * np.pi * 440 * t) * np.exp(-2 * t) + rng.normal(scale=300, size=num)).astype(
        np.int16
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_severity_and_seed_give_the_same_bits(name: str) -> None:
    given = sound()
    for severity in range(1, 6):
        found = CORRUPTIONS[name](given, severity, 7)
        assert found.dtype == np.int16 and found.shape == given.shape
        np.random.default_rng(0)
        np.random.seed(1)  # noqa: NPY002 - no global generator may matter
        assert np.array_equal(CORRUPTIONS[name](given.copy(), severity, 7), found)
        assert not np.array_equal(found, given)
    assert np.array_equal(given, sound())  # the sample itself is left alone
    if name != "clipping":
        assert any(
            not np.array_equal(CORRUPTIONS[name](given, 3, s), CORRUPTIONS[name](given, 3, 0)) for s in range(1, 9)
        )


@pytest.mark.parametrize("name", ["noise", "clipping", "band-loss"])
def test_more_severe_is_further_away_on_average(name: str) -> None:
    clips = [sound(seed=s) for s in range(6)]
    far = [
        np.mean([np.abs(CORRUPTIONS[name](c, severity, i).astype(float) - c).mean() for i, c in enumerate(clips)])
        for severity in range(1, 6)
    ]
    assert far[0] < far[4]
    if name != "band-loss":
        assert far == sorted(far)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", [0, 6, -1])
def test_no_other_severity_exists(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match=f"severity must be 1 to 5; got severity={severity}"):
        CORRUPTIONS[name](sound(), severity, 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_silence_and_one_sample_stay_what_they_are(name: str) -> None:
    assert not CORRUPTIONS[name](np.zeros(400, np.int16), 5, 3).any()
    assert CORRUPTIONS[name](np.array([900], np.int16), 5, 3).shape == (1,)


def test_noise_has_the_ratio_it_says() -> None:
    given = sound()
    for severity, ratio_db in enumerate(NOISE, 1):
        added = CORRUPTIONS["noise"](given, severity, 1).astype(float) - given
        found = 10 * np.log10(np.square(given.astype(float)).mean() / np.square(added).mean())
        assert abs(found - ratio_db) < 0.3


def test_shift_moves_the_sound_whole() -> None:
    given = sound()
    for severity, share in enumerate(SHIFT, 1):
        by = round(share * len(given))
        found = CORRUPTIONS["shift"](given, severity, 2)
        later = np.array_equal(found[by:], given[:-by]) and not found[:by].any()
        earlier = np.array_equal(found[:-by], given[by:]) and not found[-by:].any()
        assert later or earlier


def test_clipping_flattens_peaks_and_keeps_the_energy() -> None:
    given = sound()
    for severity, share in enumerate(CLIPPING, 1):
        found = CORRUPTIONS["clipping"](given, severity, 0).astype(float)
        above = np.abs(given.astype(float)) > share * np.abs(given.astype(float)).max()
        assert np.ptp(np.abs(found[above])) <= 1
        assert abs(np.square(found).mean() / np.square(given.astype(float)).mean() - 1) < 0.02


def test_a_lost_band_is_silent_and_the_rest_is_not() -> None:
    given = np.random.default_rng(0).normal(scale=2000, size=8000).astype(np.int16)
    for severity, share in enumerate(BAND, 1):
        power = np.abs(np.fft.rfft(CORRUPTIONS["band-loss"](given, severity, 5).astype(float))) ** 2
        lost = power < 1e-6 * np.median(np.abs(np.fft.rfft(given.astype(float))) ** 2)
        mel = mel_shares(len(power))
        assert abs(np.ptp(mel[np.flatnonzero(lost)]) - share) < 0.05
        assert np.ptp(np.flatnonzero(lost)) + 1 == lost.sum()
