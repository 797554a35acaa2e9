"""A candidate's first part, its score, and the winner that goes on from where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _train_parts import RESTLESS, STEPS, make_fit, run_until, state
from test_train_choices import breaking

from potstill.core.errors import TrainingError
from potstill.train import checkpoint, logs, race
from potstill.train.loop import Trainer, predict
from potstill.train.race import enter, finish, ranked


@pytest.mark.parametrize("training", [{}, {"ema": 0.9, "keep": "best"}, {"patience": 2, "learning_rate": 0.5}])
@pytest.mark.parametrize("killed", [None, 2])
def test_who_goes_on_ends_as_if_there_had_been_no_race(tmp_path: Path, training: Any, killed: int | None) -> None:
    whole, parts = (make_fit(tmp_path / n, training=training, checkpoint_every_s=1e9) for n in ("whole", "parts"))
    facts = Trainer(whole).run()
    if killed is not None:
        run_until(make_fit(parts.work, training=training, checkpoint_every_s=1e9), killed)
    found = enter(parts, 7)
    assert found["steps"] == 7 and found["failed"] is None
    position = checkpoint.read(parts.work)
    assert position is not None and position[1]["step"] == 7
    resumed = make_fit(parts.work, training=training)
    assert Trainer(resumed).run()["steps"] == facts["steps"]
    assert state(resumed) == state(whole)
    ours, theirs = ([(r["step"], r["loss"], r["learning_rate"]) for r in logs.read(f.work / "log.jsonl")] for f in (resumed, whole))  # fmt: skip
    assert ours == theirs


def test_the_score_is_of_the_weights_that_would_be_kept(tmp_path: Path) -> None:
    for name, ema in (("plain", None), ("average", 0.9)):
        fit = make_fit(tmp_path / name, training={"ema": ema})
        found = enter(fit, 7)
        groups, _ = checkpoint.read(fit.work) or ({}, {})
        fit.module.load_state_dict(groups["module" if ema is None else "ema"])
        outputs = predict(fit.module, fit.preprocess, fit.validation)
        metrics = fit.task.metrics(outputs, fit.truth)
        assert (found["score"], found["nll"]) == (metrics["accuracy"], metrics["nll"])


def test_what_was_decided_is_read_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = make_fit(tmp_path)
    found = enter(fit, 5)
    monkeypatch.setattr(race, "Trainer", None)
    assert enter(make_fit(tmp_path), 5) == found


def test_a_candidate_whose_loss_is_not_finite_is_out_of_the_race(tmp_path: Path) -> None:
    entries = [enter(make_fit(tmp_path / "a", breaking(3)), 7), enter(make_fit(tmp_path / "b", RESTLESS), 7)]
    assert entries[0]["score"] is None and entries[0]["steps"] == 3 and "must stay finite" in entries[0]["failed"]
    assert ranked(entries) == ([1], "validation score")
    assert ranked(entries[:1]) == ranked([]) == ([], "no candidate finished its first part")


def test_who_fails_on_the_way_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = breaking(9)
    enter(make_fit(tmp_path, model), 7)
    found = finish(make_fit(tmp_path, model))
    assert found["steps"] == 7 + 9, "its module counts from when it was built"
    assert found["facts"] is None and "must stay finite" in found["failed"]
    monkeypatch.setattr(race, "Trainer", None)
    assert finish(make_fit(tmp_path, model)) == found


def test_in_a_group_a_failure_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait in the sum of the gradients: none of them may go on to another candidate."""
    monkeypatch.setattr(
        race, "World", lambda device: type("Two", (), {"size": 2, "rank": 0, "agree": lambda s, f: f})()
    )
    with pytest.raises(TrainingError, match="must stay finite"):
        finish(make_fit(tmp_path, breaking(3)))
    assert not (tmp_path / "failed.json").exists()


@pytest.mark.parametrize(
    ("scores", "wanted", "by"),
    [
        ([(0.5, 1.0), (0.6, 9.0)], [1, 0], "validation score"),
        ([(0.6, 1.0), (0.6, 0.9), (0.5, 0.1)], [1, 0, 2], "validation cross-entropy, the scores being equal"),
        ([(0.6, 1.0), (0.6, 1.0)], [0, 1], "validation cross-entropy, the scores being equal"),
        ([(None, None), (0.6, None), (0.6, None)], [1, 2], "order of the rules, the scores being equal"),
        ([(0.0, 3.0), (None, None)], [0], "validation score"),
    ],
)
def test_the_best_score_wins_then_cross_entropy_then_the_first(scores: Any, wanted: list[int], by: str) -> None:
    assert ranked([{"score": score, "nll": nll} for score, nll in scores]) == (wanted, by)


def test_a_pause_evaluates_nothing_and_stops_at_the_end(tmp_path: Path) -> None:
    fit = make_fit(tmp_path)
    assert Trainer(fit).run(until=STEPS + 9)["steps"] == STEPS
    assert [r["step"] for r in logs.read(tmp_path / "log.jsonl")] == [5, 10, 15, 20]
    assert Trainer(make_fit(tmp_path / "b")).run(until=7)["steps"] == 7
    assert [r["step"] for r in logs.read(tmp_path / "b" / "log.jsonl")] == [5]
