"""Splits and augmentation: pure functions of their seeds, whatever else is in the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.augment import AugmentSpec, make_batch
from potstill.data.augment.colour import ColourSpec
from potstill.data.augment.erase import EraseSpec
from potstill.data.augment.flip import FlipSpec
from potstill.data.augment.mixup import MixupSpec
from potstill.data.augment.rotate import RotateSpec
from potstill.data.augment.shift import ShiftSpec
from potstill.data.dataset import Dataset, prepare

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (400, 10, 12, 3), dtype=np.uint8)
LABELS = RNG.permutation(np.repeat(np.arange(4), [40, 60, 100, 200]))
OPS: list[AugmentSpec] = [
    ShiftSpec(pixels=2), FlipSpec(), RotateSpec(degrees=20), ColourSpec(), EraseSpec(p=1.0), MixupSpec(alpha=1.0),
]  # fmt: skip


def made(tmp_path: Path, **settings: object) -> Dataset:
    tmp_path.mkdir(exist_ok=True)
    prepare(arrays(PIXELS, LABELS, **settings), tmp_path, Progress("quiet"))
    return Dataset.open(tmp_path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("data"), labelled=80)


def test_splits_are_stratified_disjoint_and_repeatable(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", test=0.25), made(tmp_path / "b", test=0.25)
    c = made(tmp_path / "c", test=0.25, split_seed=1)
    for name in ("train", "validation", "test"):
        assert np.array_equal(a.splits[name].ids, b.splits[name].ids)
    assert not np.array_equal(a.splits["test"].ids, c.splits["test"].ids)
    ids = np.concatenate([s.ids for s in a.splits.values()])
    assert sorted(ids) == list(range(400))
    assert np.bincount(a.splits["test"].labels).tolist() == [10, 15, 25, 50]
    assert a.digest == b.digest != c.digest


def test_labelled_counts_validation_and_is_stratified(dataset: Dataset) -> None:
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert int(train.labelled.sum()) + len(validation) == 80
    assert (validation.labelled[:] == 1).all() and len(validation) == 8
    counts = np.bincount(train.labels[:][train.labelled[:] == 1], minlength=4)
    assert (counts >= [6, 9, 16, 32]).all()
    assert (train.labels[:] >= 0).all(), "hidden labels stay in the data, out of the student's reach"


def test_hidden_labels_never_reach_a_student(dataset: Dataset) -> None:
    train = dataset.splits["train"]
    rows = np.arange(len(train))
    for ops in ([], [MixupSpec(alpha=0.5)]):
        batch = make_batch(train, rows, 0, ops, 0)
        hidden = torch.from_numpy(train.labelled[:] == 0)
        assert (batch.labels_B[hidden] == -1).all() and (batch.labels_B[~hidden] >= 0).all()
        shown = make_batch(train, rows, 0, ops, 0, reveal=True)
        assert (shown.labels_B >= 0).all()
        if batch.partner_labels_B is not None and shown.partner_labels_B is not None:
            assert int((batch.partner_labels_B >= 0).sum()) < int((shown.partner_labels_B >= 0).sum())


@pytest.mark.parametrize("labelled", [7, 401, 0.01])
def test_too_few_or_too_many_labels_are_named(tmp_path: Path, labelled: float) -> None:
    with pytest.raises(DataError, match=r"data\.labelled"):
        made(tmp_path, labelled=labelled)


def test_a_row_of_a_view_has_the_same_bits_in_any_batch_after_every_op(dataset: Dataset) -> None:
    """One op alone is in its contract."""
    split, rows = dataset.splits["train"], np.arange(64)
    whole = make_batch(split, rows, 3, OPS, 9)
    shuffled = np.random.default_rng(1).permutation(64)[:17]
    part = make_batch(split, shuffled, 3, OPS, 9)
    assert torch.equal(part.inputs_BX, whole.inputs_BX[shuffled])
    assert part.inputs_BX.dtype == torch.float32 and part.inputs_BX.shape == (17, 3, 10, 12)
    assert float(whole.inputs_BX.min()) >= 0 and float(whole.inputs_BX.max()) <= 1
    assert whole.mix_B is not None and part.mix_B is not None
    assert torch.equal(part.mix_B, whole.mix_B[shuffled]) and (whole.mix_B >= 0.5).all()


def test_no_augmentation_is_the_plain_picture(dataset: Dataset) -> None:
    split = dataset.splits["train"]
    batch = make_batch(split, np.arange(5), 7, [], 0)
    expected = split.samples[:5].astype(np.float32).transpose(0, 3, 1, 2) / 255
    assert np.allclose(batch.inputs_BX.numpy(), expected, atol=1e-7)


def test_the_same_op_twice_draws_twice(dataset: Dataset) -> None:
    split, rows = dataset.splits["train"], np.arange(200)
    once = make_batch(split, rows, 0, [FlipSpec()], 0).inputs_BX
    twice = make_batch(split, rows, 0, [FlipSpec(), FlipSpec()], 0).inputs_BX
    plain = make_batch(split, rows, 0, [], 0).inputs_BX
    flipped_once = (once != plain).flatten(1).any(1)
    assert 60 < int(flipped_once.sum()) < 140
    back = (twice == plain).flatten(1).all(1)
    assert 60 < int(back.sum()) < 140, "two fair flips give the plain picture half of the time, not always"


def test_shift_moves_whole_pixels(dataset: Dataset) -> None:
    split, rows = dataset.splits["train"], np.arange(200)
    plain = make_batch(split, rows, 0, [], 0).inputs_BX
    moved = make_batch(split, rows, 0, [ShiftSpec(pixels=1)], 0).inputs_BX
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1))
    seen = set()
    for i in range(200):
        found = [
            (dy, dx)
            for dy in range(3)
            for dx in range(3)
            if torch.equal(moved[i], padded[i, :, dy : dy + 10, dx : dx + 12])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 9, "every offset occurs"


def test_mixup_is_the_stated_mixture(dataset: Dataset) -> None:
    split, rows = dataset.splits["train"], np.arange(30)
    batch = make_batch(split, rows, 0, [MixupSpec(alpha=1.0)], 0, reveal=True)
    assert batch.mix_B is not None and batch.partner_labels_B is not None
    plain = make_batch(split, np.arange(len(split)), 0, [], 0, reveal=True)
    mix = batch.mix_B[:, None, None, None]
    for i in range(30):
        mixtures = plain.inputs_BX[i] * mix[i] + plain.inputs_BX * (1 - mix[i])
        partner = int((mixtures - batch.inputs_BX[i]).abs().flatten(1).max(1).values.argmin())
        assert torch.allclose(mixtures[partner], batch.inputs_BX[i], atol=1e-6)
        assert plain.labels_B[partner] == batch.partner_labels_B[i]
