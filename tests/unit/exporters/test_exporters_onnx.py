"""The ONNX exporter: what it writes, what it refuses, and that the bytes are the model's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import ExportError
from potstill.exporters.onnx import OnnxSpec
from potstill.exporters.parity import compare


def pixels(num: int, channels: int = 1, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((num, channels, size, size), dtype=np.float32)


class Attention(nn.Module):
    """Patches, one attention block with a residual, a mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 16, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 4, 16))
        self.norm = nn.LayerNorm(16)
        self.qkv, self.out, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.position
        q, k, v = (t.unflatten(-1, (2, 8)).transpose(1, 2) for t in self.qkv(self.norm(tokens)).chunk(3, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((tokens + self.out(mixed)).mean(dim=1))


def conv_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))


def batch_norm_net() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not 0 and 1
            net(torch.from_numpy(pixels(16)) * 3 + 1)
    return net


@pytest.mark.parametrize("build", [conv_net, Attention, batch_norm_net], ids=["conv", "attention", "batch-norm"])
def test_artifact_gives_what_the_module_gives_at_every_batch(build: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = build().eval()
    artifact = OnnxSpec().export(module, pixels(4), tmp_path)
    parity = compare(module, artifact, pixels(20), 1e-4)
    assert parity.batches == [1, 2, 7, 20]
    assert parity.max_abs_diff < 1e-5
    assert parity.top1_agreement == 1.0


def test_file_is_one_named_and_open_in_its_batch(tmp_path: Path) -> None:
    artifact = OnnxSpec().export(conv_net().eval(), pixels(2), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [artifact.path.name]
    model = onnx.load(str(artifact.path), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (source,), (result,) = model.graph.input, model.graph.output
    assert (source.name, result.name) == ("inputs", "outputs")
    assert source.type.tensor_type.shape.dim[0].dim_param
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]
    assert "potstill" in {m.key for m in model.metadata_props}


@pytest.mark.parametrize("opset", [20, 23])
def test_opset_is_the_one_asked_for(opset: int, tmp_path: Path) -> None:
    module = conv_net().eval()
    artifact = OnnxSpec(opset=opset).export(module, pixels(2), tmp_path)
    assert [o.version for o in onnx.load(str(artifact.path)).opset_import if o.domain == ""] == [opset]
    compare(module, artifact, pixels(3), 1e-4)


class Branch(nn.Module):
    """A conditional whose branches become subgraphs."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.cond(x.sum() > 0, lambda x: x.flatten(1) * 2, lambda x: x.flatten(1) - 1, (x,))
        return out


@pytest.mark.parametrize("build", [batch_norm_net, Branch], ids=["layers", "branches"])
def test_file_holds_no_path_and_no_source_line(build: type[nn.Module], tmp_path: Path) -> None:
    data = OnnxSpec().export(build().eval(), pixels(2), tmp_path).path.read_bytes()
    for trace in (
        b".py",
        b"site-packages",
        b"stack_trace",
        b"forward",
        str(Path.home()).encode(),
        str(tmp_path).encode(),
    ):
        assert trace not in data, trace


SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from potstill.exporters.onnx import OnnxSpec
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
OnnxSpec().export(net.eval(), np.full((2, 1, 8, 8), float(sys.argv[2]), np.float32), Path(sys.argv[1]))
"""


def test_bytes_repeat_in_another_process_and_nothing_is_said(tmp_path: Path) -> None:
    children = []
    for i in (1, 2):  # another hash seed, another folder, other example values
        out = tmp_path / f"run{i}"
        out.mkdir()
        command = [sys.executable, "-c", SCRIPT, str(out), str(i / 4)]
        env = {**os.environ, "PYTHONHASHSEED": str(i)}
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env))
    for child in children:
        said = child.communicate()
        assert child.returncode == 0, said[1]
        assert said == ("", "")
    files = [(tmp_path / f"run{i}" / "student.onnx").read_bytes() for i in (1, 2)]
    assert files[0] == files[1]


class Svd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svd(x.flatten(2))[1].flatten(1)


class Flow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, -1)


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x


@pytest.mark.parametrize(
    ("culprit", "named"),
    [
        (Svd(), "aten._linalg_svd"),
        (Flow(), "'inner.1' (Flow)"),
        (FixedBatch(), "view or reshape"),
        (TwoOutputs(), "one output"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_refusal_names_what_cannot_be_exported(culprit: nn.Module, named: str, tmp_path: Path) -> None:
    module = nn.Sequential()
    module.add_module("inner", nn.Sequential(nn.Identity(), culprit))
    with pytest.raises(ExportError) as caught:
        OnnxSpec().export(module.eval(), pixels(4), tmp_path)
    assert named in str(caught.value)
    assert "Refer to the full stack trace" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_example_row_cannot_fix_the_batch(tmp_path: Path) -> None:
    """A batch of 1 is specialised by the tracer: either refused, or still open; never a file for batch 1 only."""
    module = conv_net().eval()
    try:
        artifact = OnnxSpec().export(module, pixels(1), tmp_path)
    except ExportError:
        return
    compare(module, artifact, pixels(9), 1e-4)


def test_tolerance_and_opset_are_bounded() -> None:
    for bad in ({"tolerance": 0.0}, {"tolerance": -1.0}, {"opset": 17}, {"opset": 99}, {"nothing": 1}):
        with pytest.raises(ValueError):
            OnnxSpec(**bad)
