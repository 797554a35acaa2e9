"""Training while it rounds: stopped anywhere it ends in the same bits; ranges are frozen; weights go back into the module."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.compress.quant_sensitivity import leave_in_float
from potstill.data.augment import make_batch
from potstill.models.ds_cnn import DsCnnSpec
from potstill.quant.fake import Fake
from potstill.quant.real import faked
from potstill.testing.modules import shortcut
from potstill.testing.quantised import rounding
from potstill.train.loop import Fit, Trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "train"))

from _train_parts import STEPS, TRAIN, make_fit, run_until, state

MODEL = DsCnnSpec(width=4, depth=2)


def rounding_fit(
    folder: Path, scheme: Any = "int8_static_per_channel", watched: int = 14, **training: Any
) -> tuple[Fit, Fake]:
    fit = make_fit(folder, MODEL, training)
    pixels = make_batch(TRAIN, np.arange(32), 0, (), 0).inputs_BX
    with torch.no_grad():
        x = fit.preprocess.eval()(pixels)
    fake = rounding(fit.module, x, scheme, watched=watched)
    return replace(fit, module=fake), fake


@pytest.mark.parametrize("training", [{}, {"ema": 0.9, "keep": "best"}], ids=["plain", "average"])
def test_a_stopped_training_ends_in_the_same_bits(tmp_path: Path, training: dict[str, Any]) -> None:
    whole, parts = (rounding_fit(tmp_path / name, **training)[0] for name in ("whole", "parts"))
    Trainer(whole).run()
    for stop in (5, 16):  # before and after the ranges are frozen
        run_until(rounding_fit(tmp_path / "parts", **training)[0], stop)
    Trainer(parts).run()
    assert state(parts) == state(whole)
    assert parts.module.numbers() == whole.module.numbers()  # type: ignore[operator]


def test_ranges_follow_the_values_and_then_stay(tmp_path: Path) -> None:
    fit, fake = rounding_fit(tmp_path / "fit", watched=6)
    trainer = Trainer(fit)
    seen = []
    for stop in (3, 6, 9, STEPS):
        trainer.run(until=stop)
        fake.eval()
        seen.append({name: (float(fake.range_of(name).low), float(fake.range_of(name).high)) for name in fake.sites})
    assert int(fake.passes) == STEPS
    assert seen[0] != seen[1] == seen[2] == seen[3]


def test_trained_weights_are_the_modules_own_and_statistics_stay(tmp_path: Path) -> None:
    fit, fake = rounding_fit(tmp_path / "fit", "int4_conv")
    module = fake.traced.module
    before = {k: v.clone() for k, v in module.state_dict().items()}
    Trainer(fit).run()
    after = module.state_dict()
    trained = {k for k, p in module.named_parameters() if p.requires_grad}
    assert all(not torch.equal(after[k], before[k]) for k in trained)
    assert all(torch.equal(after[k], before[k]) for k in before if k not in trained), (
        "BatchNorm's statistics are frozen"
    )
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(faked(module, fake.numbers(), x)(x), fake.eval()(x))


def test_the_costliest_layers_are_left_in_float_until_it_is_near_enough() -> None:
    module, x = shortcut()
    with torch.no_grad():
        truth = module(x)
    costs = {"second.weight": 0.3, "first.weight": 0.1, "head.weight": 0.0}

    def judge(found: Any) -> float:
        if found is module:
            return 1.0
        rounded = {layer.weight for layer in found.plan.layers.values()}
        return 1.0 - sum(
            c for name, c in costs.items() if name in rounded and (found.only is None or name in found.only)
        )

    fake, found = leave_in_float(lambda left: rounding(module, x, float_layers=left), judge, judge(module), (), 5.0)
    assert [row["layer"] for row in found["layers"]] == ["second", "first", "head"]
    assert [round(row["drop"], 6) for row in found["layers"]] == [30.0, 10.0, 0.0]
    assert [row["float_layers"] for row in found["tried"]] == [[], ["second"], ["second", "first"]]
    assert fake.plan.float_layers == ("second", "first") and found["reached"]
    with torch.no_grad():
        assert float((fake(x) - truth).abs().max()) < 0.1
