"""Which weights are kept, when training stops, what the first batch must show, and which rows a step reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from _train_parts import STEPS, TRAIN, make_fit, state
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from potstill.core.errors import TrainingError
from potstill.core.progress import Progress
from potstill.data.augment.mixup import MixupSpec
from potstill.models.torch_module import TorchModuleSpec
from potstill.objectives import LossInputs, name_terms
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec
from potstill.objectives.logit_mse import LogitMseSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.schedules.warm_up import WarmUpSpec
from potstill.stages._parts import labelled_rows
from potstill.tasks import TaskSpec
from potstill.testing import tiny
from potstill.train import logs
from potstill.train.loop import Trainer
from potstill.train.optim import build_optimizer, learning_rate
from potstill.train.order import Order, steps_per_pass
from potstill.train.terms import Terms
from potstill.train.world import World


class Scripted(TaskSpec):
    """Gives the scores it is told, one an evaluation, and remembers the weights that were judged."""

    output = "classes"

    headline: ClassVar[str] = "score"
    kind: Literal["scripted"] = "scripted"
    scores: tuple[float, ...]
    """In order."""

    seen: ClassVar[list[Any]] = []

    def metrics(self, outputs_NK: Any, labels_N: Any, classes: list[str]) -> dict[str, Any]:
        raise NotImplementedError

    def correct(self, outputs_NK: Any, labels_N: Any) -> Any:
        self.seen.append(np.array(outputs_NK))
        return np.array([self.scores[len(self.seen) - 1]])


def scripted(folder: Path, scores: tuple[float, ...], **training: Any) -> tuple[dict[str, Any], list[Any], Any]:
    """Return (facts, outputs at each evaluation, outputs of what was kept)."""
    Scripted.seen.clear()
    fit = make_fit(folder, training=training, task=Scripted(scores=scores))
    facts = Trainer(fit).run()
    with torch.no_grad():
        batch = torch.from_numpy(fit.validation.samples.copy()).permute(0, 3, 1, 2).float().mul(1 / 255)
        kept = fit.module(fit.preprocess(batch)).numpy()
    return facts, list(Scripted.seen), kept


@pytest.mark.parametrize("ema", [None, 0.8])
@pytest.mark.parametrize(
    ("scores", "training", "evaluations", "kept"),
    [
        ((0.1, 0.5, 0.3, 0.4), {"patience": 2}, 4, 1),
        ((0.1, 0.5, 0.3, 0.6), {"patience": 2}, 4, 3),
        ((0.5, 0.4, 0.9, 0.9), {"patience": 1}, 2, 0),
        ((0.5, 0.5, 0.5, 0.9), {"patience": 2}, 3, 0),
        ((0.1, 0.5, 0.3, 0.4), {"keep": "best"}, 4, 1),
        ((0.1, 0.5, 0.5, 0.4), {"keep": "best"}, 4, 1),
        ((0.1, 0.5, 0.3, 0.4), {}, 4, 3),
    ],
)
def test_patience_stops_and_the_best_is_kept(
    tmp_path: Path, scores: tuple[float, ...], training: dict[str, Any], evaluations: int, kept: int, ema: float | None
) -> None:
    facts, seen, found = scripted(tmp_path, scores, **training, ema=ema)
    assert len(seen) == evaluations and facts["steps"] == 5 * evaluations
    np.testing.assert_allclose(found, seen[kept], rtol=1e-5, atol=1e-6)
    assert all(not np.allclose(found, other, atol=1e-4) for i, other in enumerate(seen) if i != kept)
    best = max(scores[:evaluations])
    assert facts["best_validation"] == best and facts["best_step"] == 5 * (scores.index(best) + 1)


def test_without_validation_rows_it_trains_to_the_end_and_keeps_the_last(tmp_path: Path) -> None:
    changes = {"validation": tiny.split(0, 8, 8, 1, hidden=0)}
    fits = [
        make_fit(tmp_path / str(i), training=t, **changes) for i, t in enumerate([{}, {"patience": 1, "keep": "best"}])
    ]
    facts = [Trainer(fit).run() for fit in fits]
    assert [f["steps"] for f in facts] == [STEPS, STEPS] and "best_step" not in facts[1]
    assert state(fits[0]) == state(fits[1])
    assert [r["validation"] for r in logs.read(fits[0].work / "log.jsonl")] == [None] * 4


def test_an_evaluation_leaves_training_as_it_was(tmp_path: Path) -> None:
    fits = [make_fit(tmp_path / str(n), training={"ema": 0.9}, evaluate_every=n) for n in (1, 20)]
    for fit in fits:
        Trainer(fit).run()
        assert not fit.module.training
    assert state(fits[0]) == state(fits[1])


class Broken(nn.Module):
    """Gives logits that are not finite, from the given step of training on."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.layer, self.start, self.num = nn.Linear(64, 10), start, 0

    def forward(self, x: Tensor) -> Tensor:
        self.num += self.training
        out: Tensor = self.layer(x.flatten(1)) * (float("nan") if self.training and self.num > self.start else 1.0)
        return out


def breaking(start: int) -> TorchModuleSpec:
    return TorchModuleSpec(factory="test_train_choices:Broken", arguments={"start": start})


def test_a_loss_that_is_not_finite_is_named_at_once_or_when_it_comes(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="hard-label: must be finite on the first batch; got nan"):
        Trainer(make_fit(tmp_path / "a", breaking(0))).run()
    with pytest.raises(
        TrainingError, match=r"training: the loss must stay finite; got .* at step 6\. The last checkpoint"
    ):
        Trainer(make_fit(tmp_path / "b", breaking(6))).run()


@pytest.mark.parametrize(
    ("objectives", "changes", "words"),
    [
        ((HardLabelSpec(weight=0.0),), {}, "must move the student"),
        ((HardLabelSpec(),), {"rows": np.arange(50, 90)}, "no row has a label"),
        ((HardLabelSpec(weight=WarmUpSpec(value=1.0)),), {}, None),
        ((HardLabelSpec(weight=0.0), SoftLabelSpec()), {}, None),
        ((HardLabelSpec(), SoftLabelSpec(weight=WarmUpSpec(value=1.0))), {"rows": np.arange(50, 90)}, None),
    ],
)
def test_the_first_batch_must_move_the_student(
    tmp_path: Path, objectives: Any, changes: dict[str, Any], words: str | None
) -> None:
    fit = make_fit(tmp_path, objectives=objectives, **changes)
    if words is None:
        Trainer(fit).run()
        return
    with pytest.raises(TrainingError, match=words):
        Trainer(fit).run()


@pytest.mark.parametrize(
    ("weights", "shares", "warned"),
    [((3.0, 1.0), [0.75, 0.25], False), ((30.0, 1.0), [30 / 31, 1 / 31], True), ((1.0, 0.0), [1.0, 0.0], False)],
)
def test_each_terms_share_of_the_gradient_is_read(
    tmp_path: Path, weights: tuple[float, float], shares: list[float], warned: bool
) -> None:
    stream = io.StringIO()
    objectives = [LogitMseSpec(weight=w) for w in weights]
    fit = make_fit(tmp_path, objectives=objectives, progress=Progress("json", stream))
    Trainer(fit).run()
    terms = logs.read(tmp_path / "log.jsonl")[0]["terms"]
    assert [terms[f"logit-mse-{i}"]["share"] for i in (1, 2)] == pytest.approx(shares, rel=1e-5)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert any(e["event"] == "warning" and "gradient shares" in e["text"] for e in events) == warned


def test_the_log_has_each_terms_mean_over_its_own_rows(tmp_path: Path) -> None:
    """A module that never learns: each record must be the mean over the steps since the last."""
    objectives = (HardLabelSpec(weight=0.5), HardPseudoLabelSpec(weight=WarmUpSpec(value=2.0, over=1.0)))
    fit = make_fit(tmp_path, objectives=objectives, training={"learning_rate": 1e-12, "weight_decay": 0},
                   model=TorchModuleSpec(factory="potstill.testing.modules:Plain"))  # fmt: skip
    Trainer(fit).run()
    with torch.no_grad():
        pixels = torch.from_numpy(TRAIN.samples.copy()).permute(0, 3, 1, 2).float().mul(1 / 255)
        z = torch.log_softmax(fit.module(fit.preprocess(pixels)), dim=1).numpy()
    order = Order(np.arange(90), 16, 3)
    everyone = Order(90, 16, 3)
    assert all(np.array_equal(order.at(i)[1], everyone.at(i)[1]) for i in range(2 * order.steps_per_pass))
    taught = tiny.logits(90, 10, seed=8).argmax(1)
    for record in logs.read(tmp_path / "log.jsonl"):
        rows = np.concatenate([order.at(step)[1] for step in range(record["step"] - 5, record["step"])])
        labelled = rows[TRAIN.labelled[rows] > 0]
        terms = record["terms"]
        assert terms["hard-label"]["loss"] == pytest.approx(-z[labelled, TRAIN.labels[labelled]].mean(), rel=1e-5)
        assert terms["hard-pseudo-label"]["loss"] == pytest.approx(-z[rows, taught[rows]].mean(), rel=1e-5)
        assert terms["hard-pseudo-label"]["weight"] == pytest.approx(2 * record["step"] / STEPS)
        assert record["epoch"] == record["step"] / 5 and terms["hard-label"]["weight"] == 0.5


def test_terms_of_one_kind_are_numbered() -> None:
    specs = [SoftLabelSpec(), HardLabelSpec(), SoftLabelSpec(temperature=4.0)]
    assert name_terms(specs) == ["soft-label-1", "hard-label", "soft-label-2"]


def test_a_term_that_no_row_has_is_zero_and_has_a_gradient_of_zero() -> None:
    logits = torch.randn(4, 10, requires_grad=True)
    x = LossInputs(output=logits, labels_B=torch.full((4,), -1), progress=0.0)
    total, terms = Terms([HardLabelSpec()], World()).loss(x)
    total.backward()  # type: ignore[no-untyped-call]
    assert float(terms["hard-label"]) == 0 and logits.grad is not None and not logits.grad.any()


@given(num=st.integers(1, 60), batch=st.integers(2, 20), world=st.integers(1, 3), seed=st.integers(0, 3))
def test_a_pass_visits_every_row_once_in_batches_that_have_statistics(
    num: int, batch: int, world: int, seed: int
) -> None:
    rows = np.arange(num) * 3
    order = Order(rows, batch, seed, world)
    steps = steps_per_pass(num, batch, world)
    for number in (0, 1):
        parts = [order.at(number * steps + i) for i in range(steps)]
        assert {n for n, _ in parts} == {number}
        assert sorted(np.concatenate([r for _, r in parts])) == rows.tolist()
        sizes = [len(r) for _, r in parts]
        assert sizes[:-1] == [batch] * (steps - 1) and sizes[-1] < batch + 2 * world
        assert min(sizes) >= min(num, batch, 2 * world)
    again = Order(rows, batch, seed, world)
    assert np.array_equal(again.at(steps)[1], order.at(steps)[1]), (
        "a step is a pure function, whatever was asked before"
    )


def test_passes_and_seeds_differ() -> None:
    orders = [Order(np.arange(50), 50, seed).at(step)[1].tolist() for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


@pytest.mark.parametrize("factory", ["FlatNorm"])
def test_a_last_batch_of_one_row_does_not_end_a_training(tmp_path: Path, factory: str) -> None:
    """BatchNorm has no statistics of one row."""
    fit = make_fit(tmp_path, TorchModuleSpec(factory=f"test_train_choices:{factory}"), rows=np.arange(33))
    assert Trainer(fit).run()["steps"] == STEPS


class FlatNorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


@pytest.mark.parametrize("labels", ["labelled", "all"])
def test_rows_without_a_label_are_no_partners_of_a_training_on_labels(tmp_path: Path, labels: str) -> None:
    """Else most mixed rows of a control have no loss, and the teacher's gain is flattered."""
    fit = make_fit(
        tmp_path, objectives=(HardLabelSpec(),), store=None, num_views=None, augment=(MixupSpec(alpha=1.0),),
        rows=labelled_rows(TRAIN) if labels == "labelled" else np.arange(90), reveal=labels == "all",
    )  # fmt: skip
    trainer = Trainer(fit)
    for step in range(6):
        *_, inputs = trainer._inputs(step)
        assert inputs.partner_labels_B is not None
        assert (inputs.labels_B >= 0).all() and (inputs.partner_labels_B >= 0).all()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_only_weights_of_two_or_more_dimensions_decay(kind: str) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    module[0].bias.requires_grad_(False)
    optimizer = build_optimizer(TrainSpec(optimizer=kind, weight_decay=0.3), module.parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {id(p): 0.3 if p.ndim > 1 else 0.0 for p in module.parameters() if p.requires_grad}
    assert decay == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"warmup": 0, "lr_schedule": "constant"}, [1.0] * 10),
        ({"warmup": 0.3, "lr_schedule": "constant"}, [1 / 3, 2 / 3] + [1.0] * 8),
        ({"warmup": 0, "lr_schedule": "linear"}, [1 - i / 10 for i in range(10)]),
        (
            {"warmup": 0.5, "lr_schedule": "cosine"},
            [0.2, 0.4, 0.6, 0.8, 1.0] + [(1 + np.cos(np.pi * i / 5)) / 2 for i in range(5)],
        ),
    ],
)
def test_learning_rate_of_each_step(settings: dict[str, Any], expected: list[float]) -> None:
    spec = TrainSpec(learning_rate=0.4, **settings)
    found = [learning_rate(spec, step, 10) for step in range(10)]
    assert found == pytest.approx([0.4 * v for v in expected])
