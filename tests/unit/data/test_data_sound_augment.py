"""Augmentations of sound do what they say; purity and range are the contract's (testing/augmentation.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from potstill.data.augment import AugmentSpec, make_batch
from potstill.data.augment.sound_mask import SoundMaskSpec
from potstill.data.augment.sound_noise import SoundNoiseSpec
from potstill.data.augment.sound_shift import SoundShiftSpec
from potstill.data.augment.sound_speed import SoundSpeedSpec
from potstill.testing import tiny

ROWS = np.arange(12, dtype=np.int64)


def tones(hz: float = 500.0) -> NDArray[np.int16]:
    t = (np.arange(8000) - 4000) / 8000
    envelope = np.exp(-((t / 0.1) ** 2))
    rows = [np.rint(9000 * np.sin(2 * np.pi * hz * t + i) * envelope) for i in range(12)]
    return np.stack(rows).astype(np.int16)


def changed(
    op: AugmentSpec, samples: NDArray[np.int16], view: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (plain, changed) [B, T]."""
    split = tiny.split_of(samples, "audio")
    return (
        make_batch(split, ROWS, view, (), 5).inputs_BX.numpy(),
        make_batch(split, ROWS, view, (op,), 5).inputs_BX.numpy(),
    )


def test_shift_moves_whole_sounds_both_ways() -> None:
    plain, moved = changed(SoundShiftSpec(share=0.1), tones())
    by = [int(np.argmax(np.correlate(m, p, "full")) - 7999) for p, m in zip(plain, moved, strict=True)]
    assert min(by) < 0 < max(by) and max(map(abs, by)) <= 800
    for p, m, n in zip(plain, moved, by, strict=True):
        assert np.array_equal(m[max(0, n) : 8000 + min(0, n)], p[max(0, -n) : 8000 - max(0, n)])


def test_speed_changes_pitch_within_its_share() -> None:
    _, played = changed(SoundSpeedSpec(share=0.2), tones())
    hz = np.abs(np.fft.rfft(played, axis=1)).argmax(axis=1)
    assert 400 <= hz.min() < 470 and 530 < hz.max() <= 600


@pytest.mark.parametrize("source", ["white", "pink", "rows"])
def test_noise_lies_between_its_ratios(source: str) -> None:
    given = tones()
    if source == "rows":  # partners must not be the row itself
        given = np.stack([np.roll(row, 37 * i * i) for i, row in enumerate(given)])
    plain, noisy = changed(SoundNoiseSpec(lowest_db=5, highest_db=20, source=source), given)
    added = noisy - plain
    found = 10 * np.log10(np.square(plain).mean(axis=1) / np.square(added).mean(axis=1))
    assert 4.8 < found.min() < found.max() < 20.2 and np.ptp(found) > 3
    if source == "pink":
        power = np.square(np.abs(np.fft.rfft(added, axis=1))).sum(axis=0)
        octaves = [power[n : 2 * n].sum() for n in (50, 100, 200, 400, 800, 1600)]
        assert max(octaves) < 1.6 * min(octaves)
    silent = SoundNoiseSpec(source="white")
    assert not changed(silent, np.zeros((12, 8000), np.int16))[1].any()


def test_noise_with_its_bounds_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValidationError, match="lowest_db must be at most highest_db, 10; got 20"):
        SoundNoiseSpec(lowest_db=20, highest_db=10)


def test_mask_silences_time_and_stops_a_band() -> None:
    noise = np.random.default_rng(0).normal(scale=3000, size=(12, 8000)).astype(np.int16)
    plain, masked = changed(SoundMaskSpec(time=0.3, band=0.0), noise)
    silent = np.abs(masked) < 1e-6
    assert 0 < silent.mean(axis=1).max() <= 0.3 and np.abs((masked - plain)[~silent]).max() < 1e-5
    plain, masked = changed(SoundMaskSpec(time=0.0, band=0.3), noise)
    gone = np.abs(np.fft.rfft(masked, axis=1)) < 0.01 * np.abs(np.fft.rfft(plain, axis=1))
    for row in gone:
        places = np.flatnonzero(row)
        assert len(places) == 0 or np.ptp(places) + 1 == len(places)  # one band
    assert gone.mean(axis=1).max() > 0.1


def test_teacher_and_student_get_the_same_masked_sound() -> None:
    """A store is filled for (rows, view) in micro-batches; the student asks for the same rows in another order."""
    split = tiny.split_of(tiny.samples("audio"), "audio")
    ops = (SoundShiftSpec(), SoundSpeedSpec(), SoundNoiseSpec(), SoundNoiseSpec(source="rows"), SoundMaskSpec())
    teacher = make_batch(split, ROWS, 2, ops, 5)
    order = np.array([7, 0, 3, 7], np.int64)
    student = make_batch(split, order, 2, ops, 5)
    assert torch.equal(student.inputs_BX, teacher.inputs_BX[torch.from_numpy(order)])
    assert not torch.equal(replace(teacher).inputs_BX, make_batch(split, ROWS, 3, ops, 5).inputs_BX)
