"""Stopped anywhere and gone on, a training ends in the same bits, with the same log."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _train_parts import RESTLESS, STEPS, live_teacher, make_fit, run_until, state
from torch import nn

from potstill.core.errors import StoreError
from potstill.models.resnet import ResNetSpec
from potstill.objectives.attention_transfer import AttentionTransferSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.rkd import RkdSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.linear import LinearSpec
from potstill.schedules.training import TrainSpec
from potstill.train import checkpoint, logs
from potstill.train.interrupt import Interruption
from potstill.train.loop import Trainer
from potstill.train.optim import build_optimizer

RESNET = ResNetSpec(depth=8, width=4)
"""Three-by-three convolutions in channels-last memory: an optimiser state in another order would go to other weights."""
WIDE = ResNetSpec(depth=8, width=6)
"""Teaches features through adapters."""


@pytest.mark.parametrize(
    ("model", "training", "changes"),
    [
        (RESNET, {}, {}),
        (RESNET, {"optimizer": "sgd"}, {}),
        (RESNET, {"ema": 0.9, "keep": "best"}, {}),
        (RESTLESS, {"clip_norm": 0.3, "ema": 0.9}, {}),
        (RESTLESS, {"patience": 2, "learning_rate": 0.5}, {}),
        (RESTLESS, {"optimizer": "sgd", "momentum": 0, "lr_schedule": "linear"}, {}),
        (RESTLESS, {}, {"objectives": (SoftLabelSpec(temperature=LinearSpec(start=4, end=1)),), "rows": np.arange(0, 90, 2)}),
        (RESNET, {"clip_norm": 1.0}, {"objectives": (SoftLabelSpec(), FeatureL2Spec()), "teacher": live_teacher(WIDE)}),
        (RESNET, {"ema": 0.9, "keep": "best"}, {"objectives": (FeatureL2Spec(), AttentionTransferSpec(), RkdSpec(), FeatureL2Spec(taps="last")),
                                                "teacher": live_teacher(WIDE), "store": None}),
    ],
    ids=["adamw", "sgd", "average", "dropout", "patience", "plain-sgd", "schedule", "features", "features-alone"],
)  # fmt: skip
@pytest.mark.parametrize("stops", [(1,), (7, 8, 19)])
def test_a_training_that_was_stopped_ends_in_the_same_bits(
    tmp_path: Path, model: Any, training: dict[str, Any], changes: dict[str, Any], stops: tuple[int, ...]
) -> None:
    whole, parts = (make_fit(tmp_path / name, model, training, **changes) for name in ("whole", "parts"))
    facts = Trainer(whole).run()
    for stop in stops:
        if stop < facts["steps"]:
            run_until(make_fit(tmp_path / "parts", model, training, **changes), stop)
    found = Trainer(parts).run()
    assert state(parts) == state(whole)
    assert {k: v for k, v in found.items() if k != "seconds"} == {k: v for k, v in facts.items() if k != "seconds"}
    ours, theirs = (logs.read(fit.work / "log.jsonl") for fit in (whole, parts))
    assert [{k: v for k, v in r.items() if k != "steps_per_second"} for r in ours] == [
        {k: v for k, v in r.items() if k != "steps_per_second"} for r in theirs
    ]


def test_work_after_the_last_checkpoint_is_done_again(tmp_path: Path) -> None:
    whole, parts = make_fit(tmp_path / "whole"), make_fit(tmp_path / "parts")
    Trainer(whole).run()
    run_until(make_fit(tmp_path / "parts"), stop=13, save_at=7)
    assert [r["step"] for r in logs.read(parts.work / "log.jsonl")] == [5, 10]
    trainer = Trainer(parts)
    assert trainer.state.step == 7
    trainer.run()
    assert [r["step"] for r in logs.read(parts.work / "log.jsonl")] == [5, 10, 15, 20], (
        "a record past the checkpoint stayed"
    )
    assert state(parts) == state(whole)


def test_a_finished_training_is_not_gone_on_with(tmp_path: Path) -> None:
    """Killed between its last step and its end, early stop included."""
    whole = make_fit(tmp_path / "whole", training={"patience": 1, "learning_rate": 0.9})
    facts = Trainer(whole).run()
    assert facts["steps"] < STEPS
    again = make_fit(tmp_path / "again", training={"patience": 1, "learning_rate": 0.9})
    trainer = Trainer(again)
    trainer.run()
    trainer._save()
    resumed = make_fit(tmp_path / "again", training={"patience": 1, "learning_rate": 0.9})
    assert Trainer(resumed).run()["steps"] == facts["steps"]
    assert state(resumed) == state(whole)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_an_optimisers_state_comes_back_in_its_weights_layout(kind: str) -> None:
    def stepped() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Conv2d(5, 7, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module, build_optimizer(TrainSpec(optimizer=kind), module.parameters())

    module, optimizer = stepped()
    for seed in range(2):
        for p in module.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
        optimizer.step()
    tensors = checkpoint.optimizer_tensors(optimizer)
    twin, again = stepped()
    checkpoint.load_optimizer(again, {k: v.clone() for k, v in tensors.items()})
    for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            back = again.state[theirs][name]
            assert torch.equal(back, value), name
            if value.shape == mine.shape:
                assert back.stride() == theirs.stride(), f"{name} in another order than its weight"


def test_a_damaged_checkpoint_is_never_gone_on_from(tmp_path: Path) -> None:
    run_until(make_fit(tmp_path), 7)
    path = tmp_path / checkpoint.NAME
    whole = path.read_bytes()
    draw = random.Random(1)
    for at in [0, 8, 100, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(25))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            found = checkpoint.read(tmp_path)
        except StoreError as err:
            assert "checkpoint must be whole" in str(err) and "starts over" in str(err)
            continue
        assert found is not None
        pytest.fail(f"a flipped bit at byte {at} was not seen")
    for length in (0, 7, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="checkpoint must be whole"):
            checkpoint.read(tmp_path)


def test_other_numerics_are_refused_unless_accepted(tmp_path: Path) -> None:
    run_until(make_fit(tmp_path), 7)
    other = {"threads": 2}
    with pytest.raises(StoreError, match=r"another threads \(\[1\] before, \[2\] now\)"):
        Trainer(make_fit(tmp_path, fingerprint=other))
    assert Trainer(make_fit(tmp_path, fingerprint=other, accept_fingerprint=True)).state.step == 7


def test_a_torn_log_keeps_its_whole_records(tmp_path: Path) -> None:
    log = logs.Log(tmp_path, 0)
    for step in (5, 10, 15):
        log.write({"step": step, "loss": 1.0 / step})
    log.close()
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text()[:-9])
    assert [r["step"] for r in logs.read(path)] == [5, 10]
    logs.Log(tmp_path, 7).close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5]
    logs.Log(tmp_path, 0).close()
    assert path.read_text() == "", "a fresh start has an empty log"
    assert logs.read(tmp_path / "absent") == []
    with pytest.raises(ValueError):
        logs.Log(tmp_path, 0).write({"step": 1, "loss": float("nan")})


def test_csv_has_a_column_for_each_number(tmp_path: Path) -> None:
    records = [{"step": 5, "terms": {"soft-label": {"loss": 1.5, "share": None}}}, {"step": 10, "validation": 0.5}]
    logs.write_csv(records, tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "step,terms/soft-label/loss,validation",
        "5,1.5,",
        "10,,0.5",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_a_request_first_and_an_order_then(number: int) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_in_a_thread_the_signals_are_left_to_the_main_one() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interruption() as interruption:
            seen.append((signal.getsignal(signal.SIGINT), interruption.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_ctrl_c_finishes_the_step_saves_and_resumes(tmp_path: Path) -> None:
    whole, parts = make_fit(tmp_path / "whole"), make_fit(tmp_path / "parts", checkpoint_every_s=1e9)
    Trainer(whole).run()
    trainer = Trainer(parts)
    step = trainer._step

    def pressed(number: int) -> Any:
        if number == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return step(number)

    trainer._step = pressed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    found = checkpoint.read(parts.work)
    assert found is not None and found[1]["step"] == 9
    resumed = make_fit(tmp_path / "parts")
    Trainer(resumed).run()
    assert state(resumed) == state(whole)
