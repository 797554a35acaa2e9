"""Factors that keep each term's share of the gradient: against the formula, through a stop, and off where not asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _train_parts import BOTH, RESTLESS, live_teacher, make_fit, run_until, state
from hypothesis import given
from hypothesis import strategies as st

from potstill.models.resnet import ResNetSpec
from potstill.objectives.attention_transfer import AttentionTransferSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.similarity_preserving import SimilarityPreservingSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.testing import tiny
from potstill.train import checkpoint, logs
from potstill.train.balance import EVERY, LIMIT, SMOOTHING, Balance
from potstill.train.loop import Trainer
from potstill.train.terms import shares_of

SHARES = {"hard-label": 0.4, "soft-label": 0.6}
RESNET, WIDE = ResNetSpec(depth=8, width=4), ResNetSpec(depth=8, width=6)
FEATURES = (SoftLabelSpec(), SimilarityPreservingSpec(), AttentionTransferSpec())
THREE = {"soft-label": 0.5, "similarity-preserving": 0.2, "attention-transfer": 0.3}


def test_the_first_measurement_gives_the_shares_at_once() -> None:
    balance = Balance({"a": 0.2, "b": 0.5, "c": 0.3})
    norms = {"a": 40.0, "b": 0.5, "c": 3.0}
    balance.update(norms)
    assert shares_of({n: norms[n] * f for n, f in balance.factors.items()}) == pytest.approx(
        {"a": 0.2, "b": 0.5, "c": 0.3}
    )
    assert balance.factors["b"] == 1.0, "the term of the largest share sets the size"


def test_of_equal_shares_the_first_sets_the_size() -> None:
    balance = Balance({"a": 0.5, "b": 0.5})
    balance.update({"a": 2.0, "b": 8.0})
    assert balance.factors == pytest.approx({"a": 1.0, "b": 0.25})


def test_later_ones_are_smoothed() -> None:
    """Against the running mean of logarithms, worked out apart; a norm is given with the factor of its time in it."""
    balance = Balance(SHARES)
    plain = {"hard-label": [8.0, 2.0, 16.0], "soft-label": [1.0, 1.0, 3.0]}
    for i in range(3):
        balance.update({n: plain[n][i] * balance.factors[n] for n in plain})
    means = {}
    for name, (first, second, third) in plain.items():
        mean = (1 - SMOOTHING) * math.log(first) + SMOOTHING * math.log(second)
        means[name] = (1 - SMOOTHING) * mean + SMOOTHING * math.log(third)
    wanted = 0.4 / 0.6 * math.exp(means["soft-label"] - means["hard-label"])
    assert balance.factors == pytest.approx({"hard-label": wanted, "soft-label": 1.0})


@pytest.mark.parametrize("odd", [0.0, math.nan, math.inf])
def test_a_term_without_a_gradient_keeps_its_factor(odd: float) -> None:
    balance = Balance(SHARES)
    balance.update({"hard-label": odd, "soft-label": 1.0})
    assert balance.factors == {"hard-label": 1.0, "soft-label": 1.0}
    balance.update({"hard-label": 5.0, "soft-label": 1.0})
    before = dict(balance.factors)
    balance.update({"hard-label": odd, "soft-label": 1.0})
    assert balance.factors == pytest.approx(before)
    balance.update({"hard-label": 5.0 * before["hard-label"], "soft-label": odd})
    assert balance.factors == pytest.approx(before), "the leading term stands where it was"


@given(
    norms=st.lists(
        st.tuples(*[st.floats()] * 2), min_size=1, max_size=8
    ),
    share=st.floats(0.001, 0.999),
)  # fmt: skip
def test_factors_are_always_finite_and_bounded(norms: Any, share: float) -> None:
    balance = Balance({"a": share, "b": 1 - share})
    for a, b in norms:
        balance.update({"a": a, "b": b})
        assert all(1 / LIMIT * 0.999 <= f <= LIMIT * 1.001 for f in balance.factors.values()), balance.factors
        again = Balance({"a": share, "b": 1 - share})
        again.restore(balance.state())
        assert again.state().keys() == balance.state().keys() and again.factors == balance.factors
        assert all(torch.equal(v, balance.state()[k]) for k, v in again.state().items())


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (RESTLESS, {"shares": SHARES}),
        (RESTLESS, {"shares": SHARES, "training": {"ema": 0.9, "keep": "best"}}),
        (RESNET, {"objectives": FEATURES, "shares": THREE, "teacher": live_teacher(WIDE)}),
    ],
    ids=["logits", "average", "features"],
)
@pytest.mark.parametrize("stops", [(1,), (7, 11, 19)])
def test_stopped_and_gone_on_it_ends_in_the_same_bits(
    tmp_path: Path, model: Any, changes: dict[str, Any], stops: tuple[int, ...]
) -> None:
    whole, parts = (make_fit(tmp_path / name, model, **changes) for name in ("whole", "parts"))
    Trainer(whole).run()
    for stop in stops:
        run_until(make_fit(parts.work, model, **changes), stop)
        found = checkpoint.read(parts.work)
        assert found is not None and found[0]["balance"].keys() == changes["shares"].keys()
    Trainer(parts).run()
    assert state(parts) == state(whole)
    ours, theirs = ([r["terms"] for r in logs.read(fit.work / "log.jsonl")] for fit in (parts, whole))
    assert ours == theirs and all(t["factor"] > 0 for r in ours for t in r.values())


def test_a_factor_multiplies_the_weight(tmp_path: Path) -> None:
    """The loss of the step after the first measurement is that of a training whose weights were set so."""
    balanced = Trainer(make_fit(tmp_path / "a", shares=SHARES))
    assert balanced.terms.balance is not None
    plain = Trainer(make_fit(tmp_path / "b"))
    assert float(balanced._step(0)) == float(plain._step(0)), "the first step has the weights as they are"
    factors = balanced.terms.balance.factors
    assert factors["soft-label"] == 1.0 != factors["hard-label"]
    by_hand = make_fit(tmp_path / "c", objectives=(HardLabelSpec(weight=0.5 * factors["hard-label"]), BOTH[1]))
    twin = Trainer(by_hand)
    twin.module.load_state_dict(balanced.module.state_dict())
    assert float(balanced._step(1)) == pytest.approx(float(twin._step(1)), rel=1e-6)


@pytest.mark.parametrize("objectives", [BOTH, FEATURES], ids=["logits", "features"])
def test_without_balance_nothing_is_scaled_or_measured_more_often(
    tmp_path: Path, objectives: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = Trainer._look
    monkeypatch.setattr(Trainer, "_look", lambda self, step, *rest: (looks.append(step), look(self, step, *rest)))
    teacher = live_teacher(WIDE) if objectives is FEATURES else None
    trainer = Trainer(make_fit(tmp_path / "a", RESNET, objectives=objectives, teacher=teacher))
    trainer.run()
    assert looks == [0] and trainer.terms.balance is None
    found = logs.read(tmp_path / "a" / "log.jsonl")
    assert not any("factor" in t for r in found for t in r["terms"].values())
    looks.clear()
    shares = SHARES if objectives is BOTH else THREE
    Trainer(make_fit(tmp_path / "b", RESNET, objectives=objectives, teacher=teacher, shares=shares)).run()
    assert looks == list(range(0, 20, EVERY))


def test_a_batch_without_a_labelled_row_leaves_the_factor(tmp_path: Path) -> None:
    train = tiny.split(90, 8, 8, 1, hidden=90)
    fit = make_fit(tmp_path, train=train, rows=np.arange(90), shares=SHARES)
    Trainer(fit).run()
    for record in logs.read(tmp_path / "log.jsonl"):
        assert {n: t["factor"] for n, t in record["terms"].items()} == {"hard-label": 1.0, "soft-label": 1.0}
