"""Rows of a split, damaged one by one."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.core.samples import FORMS
from potstill.data.corrupt.rows import SEVERITIES, corrupted, corruptions_of, some_rows
from potstill.data.dataset import Split


def split(num: int = 6) -> Split:
    samples = np.random.default_rng(0).integers(0, 256, (num, 8, 8, 3), np.uint8)
    rows = np.arange(num)
    return Split(samples, rows % 3, np.ones(num, np.uint8), rows + 100, np.zeros((num, 16), np.uint8), groups=rows // 2)


def test_a_row_is_damaged_the_same_whatever_is_beside_it() -> None:
    whole = split()
    for name in corruptions_of("image"):
        alone = corrupted(some_rows(whole, np.array([4, 1])), name, 3, 7)
        together = corrupted(whole, name, 3, 7)
        assert np.array_equal(alone.samples, together.samples[[4, 1]]) and alone.ids.tolist() == [104, 101]
    other = corrupted(whole, "noise", 3, 8)
    assert not np.array_equal(other.samples, corrupted(whole, "noise", 3, 7).samples)


def test_rows_differ_in_their_draws_and_severities_do_not() -> None:
    flat = split()
    flat.samples[:] = 128
    found = {s: corrupted(flat, "noise", s, 0).samples.astype(int) - 128 for s in (1, 2)}
    assert not np.array_equal(found[1][0], found[1][1])
    assert (np.sign(found[1]) * np.sign(found[2]) >= 0).all(), "a harder one is the same damage, only more of it"


def test_all_else_is_as_it_was() -> None:
    whole = split()
    before = whole.samples.copy()
    found = corrupted(whole, "occlusion", 5, 0)
    assert np.array_equal(whole.samples, before) and not np.array_equal(found.samples, before)
    for name in ("labels", "labelled", "ids", "groups", "kind"):
        assert getattr(found, name) is getattr(whole, name)


@pytest.mark.parametrize("kind", FORMS)
def test_every_kind_of_sample_has_corruptions_of_every_severity(kind: str) -> None:
    form = FORMS[kind]
    shape = {"image": (8, 8, 1), "series": (40, 2), "audio": (800,), "text": (30,)}[kind]
    sample = np.random.default_rng(0).normal(100, 20, shape).astype(form.dtype)
    if kind == "text":
        sample = np.frombuffer(b"a text to be damaged here ".ljust(30, b"\0"), np.uint8)
    assert len(corruptions_of(kind)) >= 3
    for corrupt in corruptions_of(kind).values():
        assert all(corrupt(sample, s, 0).shape == sample.shape for s in SEVERITIES)
