"""Training on features from disk: killed and gone on with, or done twice, it ends in the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _train_parts import TRAIN, live_teacher, make_fit, run_until, state

from potstill.core.errors import RecipeError
from potstill.data.augment import make_batch
from potstill.labels.codecs.float16 import Float16Spec
from potstill.labels.store import LabelStore
from potstill.labels.writer import write_store
from potstill.models.resnet import ResNetSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.taps import TapPair
from potstill.train.features import StoredTeacher
from potstill.train.loop import Fit, Trainer

RESNET, WIDE = ResNetSpec(depth=8, width=4), ResNetSpec(depth=8, width=6)
HINT = (SoftLabelSpec(), FeatureL2Spec(taps=(TapPair(student="layer2", teacher="layer2"),)))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredTeacher:
    """One place of a teacher, in shards of thirty rows."""
    teacher = live_teacher(WIDE)
    places = [p for p in teacher.places(make_batch(TRAIN, np.arange(2), 0, (), 0).inputs_BX) if p.name == "layer2"]
    read = teacher.reader(places)

    def outputs(rows: Any, view: int) -> Any:
        return read(make_batch(TRAIN, rows, view, (), 0).inputs_BX, view, rows)["layer2"].numpy()

    folder = tmp_path_factory.mktemp("store")
    write_store(
        folder, outputs, num_rows=90, shape=(12, 4, 4), views=1, codec=Float16Spec(), output="features", identity={},
        fingerprint={}, micro_batch=30, shard_rows=30,
    )  # fmt: skip
    return StoredTeacher({"layer2": LabelStore.open(folder)})


def fit_of(folder: Path, teacher: StoredTeacher, **changes: Any) -> Fit:
    return make_fit(folder, RESNET, teacher=teacher, **{"objectives": HINT, **changes})


@pytest.mark.parametrize("stop", [1, 13])
def test_killed_and_gone_on_with_it_ends_in_the_same_bits(tmp_path: Path, stored: StoredTeacher, stop: int) -> None:
    whole = fit_of(tmp_path / "whole", stored)
    Trainer(whole).run()
    run_until(fit_of(tmp_path / "parts", stored), stop)
    resumed = fit_of(tmp_path / "parts", stored)
    Trainer(resumed).run()
    assert state(resumed) == state(whole)


def test_rows_are_those_of_the_batch_in_its_order(tmp_path: Path, stored: StoredTeacher) -> None:
    """Against what the trainer asks for: the very rows that the student sees, whatever shards they are in."""
    trainer = Trainer(fit_of(tmp_path, stored))
    pixels, (view, rows), _ = trainer._inputs(3)
    assert len(set(rows // 30)) > 1 and torch.equal(pixels, make_batch(TRAIN, rows, 0, (), 0).inputs_BX)
    read = stored.reader(stored.places(pixels))
    got = read(pixels, view, rows)["layer2"]
    for i, row in enumerate(rows):
        assert torch.equal(got[i], read(pixels, 0, rows[i : i + 1])["layer2"][0]), row


def test_near_the_live_one_and_not_it(tmp_path: Path, stored: StoredTeacher) -> None:
    """After one step only the rounding of the features tells the two apart."""
    weights = []
    for name, teacher in (("live", live_teacher(WIDE)), ("stored", stored)):
        fit = fit_of(tmp_path / name, teacher)  # type: ignore[arg-type]
        Trainer(fit).run(until=1)
        weights.append(torch.cat([p.detach().flatten() for p in fit.module.parameters()]))
    assert torch.allclose(*weights, rtol=1e-3, atol=1e-4)
    losses = [Trainer(fit_of(tmp_path / f"{n}-1", t))._step(0) for n, t in (("l", live_teacher(WIDE)), ("s", stored))]  # type: ignore[arg-type]
    assert losses[0] != losses[1] and float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-3)


def test_a_place_that_is_not_stored_is_named_before_the_first_step(tmp_path: Path, stored: StoredTeacher) -> None:
    other = FeatureL2Spec(taps=(TapPair(student="layer1", teacher="layer1"),))
    with pytest.raises(RecipeError, match=r"feature-l2\.taps\[0\]\.teacher: must name .*'layer1'"):
        Trainer(fit_of(tmp_path, stored, objectives=(other,)))
