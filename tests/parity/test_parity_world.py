"""Two processes against one: gradients summed over a shared batch are those of the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from potstill.models.tools.build import new_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.taps import TapPair
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.testing import tiny
from potstill.testing.modules import plain
from potstill.train.features import LiveTeacher
from potstill.train.logs import read
from potstill.train.loop import Fit, Trainer

ROWS = 45
"""Batches of ten: the last of a pass has five rows, two for the first process and three for the second. (With three, the
rest would join the batch before for two processes, and not for one: BatchNorm needs two rows in each.)"""


SHARES = {"hard-label": 0.2, "soft-label": 0.5, "feature-l2": 0.3}
LOGITS = {"hard-label": 0.3, "soft-label": 0.7}


def train(folder: Path, shares: dict[str, float] | None) -> dict[str, Tensor]:
    """Train in as many processes as the environment says; labels are so few that a process often has none in its part.
    Shares without a term on features leave it out, and are kept at the logits."""
    from potstill.labels.codecs.float32 import Float32Spec

    torch.manual_seed(1)
    new = new_model(TorchModuleSpec(factory="potstill.testing.modules:Plain"), tiny.IO, tiny.STATS)
    fit = Fit(
        module=new.module, preprocess=new.preprocess, task=ImageClassificationSpec(),
        train=tiny.split(ROWS, 8, 8, 1, hidden=38), validation=tiny.split(20, 8, 8, 1, hidden=0),
        classes=[str(k) for k in range(10)], rows=np.arange(ROWS),
        objectives=[HardLabelSpec(), SoftLabelSpec(temperature=4.0, weight=0.5),
                    FeatureL2Spec(taps=(TapPair(student="conv", teacher="conv"),))][: len(shares or SHARES)],
        shares=shares, teacher=LiveTeacher(plain(width=6), torch.nn.Identity()),
        training=TrainSpec(batch_size=10, optimizer="sgd", learning_rate=0.05, clip_norm=1.0, warmup=0), augment=(), num_steps=12,
        evaluate_every=4, seed=3, augment_seed=5, work=folder, name="parity", fingerprint={}, num_views=1,
        store=tiny.MemoryStore(tiny.logits(ROWS, 10, seed=8), Float32Spec()),
    )  # fmt: skip
    Trainer(fit).run()
    return new.module.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_file(
        {k: v.numpy() for k, v in train(Path(sys.argv[1]), json.loads(sys.argv[2])).items()},
        f"{sys.argv[1]}/rank{os.environ['RANK']}.safetensors",
    )


@pytest.mark.parametrize("shares", [None, SHARES, LOGITS], ids=["plain", "balanced", "balanced-at-the-logits"])
def test_two_processes_train_as_one_does(tmp_path: Path, shares: dict[str, float] | None) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    two = tmp_path / "two"
    two.mkdir()
    processes = []
    for rank in "01":
        env = {**os.environ, "RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
               "POTSTILL_GROUP_TIMEOUT_S": "60"}  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, str(two), json.dumps(shares)], env=env, stderr=subprocess.PIPE, text=True
            )
        )
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    found = [load_file(two / f"rank{rank}.safetensors") for rank in "01"]
    (tmp_path / "one").mkdir()
    alone = {k: v.numpy() for k, v in train(tmp_path / "one", shares).items()}
    for name, value in alone.items():
        assert np.array_equal(found[0][name], found[1][name]), f"{name}: the processes drifted apart"
        np.testing.assert_allclose(found[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    ours, theirs = read(tmp_path / "one" / "log.jsonl"), read(two / "log.jsonl")
    assert len(ours) == len(theirs) == 3, "one process writes the log"
    for a, b in zip(ours, theirs, strict=True):
        assert a["validation"] == b["validation"]
        for name in shares or SHARES:
            for field in ("loss", "share", *(("factor",) if shares else ())):
                np.testing.assert_allclose(a["terms"][name][field], b["terms"][name][field], rtol=1e-4, err_msg=field)
