"""Our trainer with a term on features against a bare loop that computes the features itself: the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from potstill.core import rng
from potstill.core.samples import DataStats
from potstill.data.augment import make_batch
from potstill.models.tools.build import new_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.taps import TapPair
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.testing import tiny
from potstill.testing.modules import Plain, plain
from potstill.train.features import LiveTeacher
from potstill.train.loop import Fit, Trainer
from potstill.train.order import Order

STEPS, BATCH, SEED = 20, 24, 3
TRAIN = tiny.split(100, 8, 8, 1, hidden=40)
TAPS = (TapPair(student="conv", teacher="conv"),)


def student() -> Plain:
    torch.manual_seed(1)
    module = new_model(
        TorchModuleSpec(factory="potstill.testing.modules:Plain"), tiny.IO, DataStats((0.0,), (1.0,))
    ).module
    assert isinstance(module, Plain)
    return module


def ours(folder: Path, weight: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    module = student()
    fit = Fit(
        module=module, preprocess=nn.Identity(), task=ImageClassificationSpec(), train=TRAIN,
        validation=tiny.split(20, 8, 8, 1, hidden=0), classes=[str(k) for k in range(10)], rows=np.arange(100),
        objectives=[HardLabelSpec(), FeatureL2Spec(weight=weight, taps=TAPS)], augment=(), num_steps=STEPS, evaluate_every=7,
        training=TrainSpec(batch_size=BATCH, optimizer="sgd", learning_rate=0.05, weight_decay=0.05, warmup=0, lr_schedule="constant"),
        seed=SEED, augment_seed=5, work=folder, name="parity", fingerprint={}, num_views=1,
        teacher=LiveTeacher(plain(width=6), nn.Identity()),
    )  # fmt: skip
    trainer = Trainer(fit)
    trainer.run()
    return module.state_dict(), trainer.features.adapters.state_dict()


def bare(weight: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    module, teacher = student(), plain(width=6)
    assert isinstance(teacher, Plain)
    torch.manual_seed(rng.seed_of(SEED, "adapter", "feature-l2", 0))
    adapter = nn.Conv2d(4, 6, 1)
    parameters = [*module.parameters(), *adapter.parameters()]
    optimizer = torch.optim.SGD(
        [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05}, {"params": [p for p in parameters if p.ndim == 1]}],
        lr=0.05, momentum=0.9, nesterov=True,
    )  # fmt: skip
    order = Order(np.arange(100), BATCH, SEED)
    for step in range(STEPS):
        batch = make_batch(TRAIN, order.at(step)[1], 0, (), 5)
        x: Any = batch.inputs_BX
        features = module.conv(x)
        logits = module.head(F.relu(features).mean(dim=(2, 3)))
        hint = (adapter(features) - teacher.conv(x).detach()).square().mean()
        loss = F.cross_entropy(logits, batch.labels_B, ignore_index=-1) + weight * hint
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.state_dict(), {f"feature-l2.0.{k}": v for k, v in adapter.state_dict().items()}


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def test_twenty_steps_end_in_the_same_weights_and_adapters(tmp_path: Path) -> None:
    found, expected = ours(tmp_path, 2.0), bare(2.0)
    assert difference(found[0], expected[0]) < 5e-6 and difference(found[1], expected[1]) < 5e-6


@pytest.mark.parametrize("weight", [0.0, 2.1])
def test_another_weight_is_told_apart(tmp_path: Path, weight: float) -> None:
    found, other = ours(tmp_path, 2.0), bare(weight)
    assert difference(found[0], other[0]) > 1e-4 and difference(found[1], other[1]) > 1e-4
