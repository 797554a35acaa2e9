"""The parity gate can fail: each way in which an artifact may differ from its module stops it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from potstill.core.errors import ParityError
from potstill.exporters.onnx import OnnxSpec
from potstill.exporters.parity import compare


def samples(num: int) -> np.ndarray:
    return np.random.default_rng(1).random((num, 1, 2, 2), dtype=np.float32)


class Flat(nn.Module):
    """[B, 1, 2, 2] -> [B, 4]: logits are the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Stand:
    """An artifact that is off by what `change` does to the right answer; remembers the batches it saw."""

    path = Path("stand.onnx")

    def __init__(self, change=lambda out: out) -> None:
        self.change, self.seen = change, []

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.seen.append(len(inputs))
        return self.change(inputs.reshape(len(inputs), -1).copy())


def test_equal_artifact_passes_with_zero_figures_at_each_batch() -> None:
    artifact = Stand()
    parity = compare(Flat().eval(), artifact, samples(20), 1e-4)
    assert (parity.max_abs_diff, parity.mean_abs_diff, parity.top1_agreement) == (0.0, 0.0, 1.0)
    assert parity.batches == [1, 2, 7, 20]
    assert {1, 2, 7, 20} <= set(artifact.seen)
    assert parity.tolerance == 1e-4


def test_sizes_above_the_sample_are_left_out() -> None:
    assert compare(Flat().eval(), Stand(), samples(5), 1e-4).batches == [1, 2, 5]


def test_figures_are_those_of_the_difference() -> None:
    parity = compare(Flat().eval(), Stand(lambda out: out + np.float32(2**-14)), samples(20), 1e-4)
    assert parity.max_abs_diff == pytest.approx(2**-14, rel=1e-2)
    assert parity.mean_abs_diff == pytest.approx(2**-14, rel=1e-2)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_a_difference_at_one_batch_size_only_is_found(size: int) -> None:
    def change(out: np.ndarray) -> np.ndarray:
        return out + np.float32(1e-2) if len(out) == size else out

    with pytest.raises(ParityError, match=f"batch {size} "):
        compare(Flat().eval(), Stand(change), samples(20), 1e-4)


def test_the_tolerance_is_the_bound() -> None:
    artifact = Stand(lambda out: out + np.float32(5e-3))
    assert compare(Flat().eval(), artifact, samples(20), 1e-2).max_abs_diff == pytest.approx(5e-3, rel=1e-2)
    with pytest.raises(ParityError, match=r"0\.005"):
        compare(Flat().eval(), artifact, samples(20), 1e-3)


def test_another_top_class_fails_whatever_the_tolerance() -> None:
    with pytest.raises(ParityError, match="top-1"):
        compare(Flat().eval(), Stand(lambda out: out[:, ::-1]), samples(20), 100.0)


def test_nan_of_the_artifact_fails() -> None:
    def change(out: np.ndarray) -> np.ndarray:
        out[-1, 0] = np.nan
        return out

    with pytest.raises(ParityError, match="finite"):
        compare(Flat().eval(), Stand(change), samples(20), 1e-4)


def test_nan_of_the_module_alone_fails() -> None:
    """NaN is larger than no tolerance; one row in 400 leaves the agreement above its bound."""

    class Poisoned(Flat):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x).clone()
            out[x.flatten(1)[:, 0] == 2.0] = float("nan")
            return out

    inputs = samples(400)
    inputs[300, 0, 0, 0] = 2.0
    with pytest.raises(ParityError, match="module must give finite"):
        compare(Poisoned().eval(), Stand(), inputs, 1e-4)


def test_another_number_of_classes_fails() -> None:
    with pytest.raises(ParityError, match=r"must give \[\d+, 4\]"):
        compare(Flat().eval(), Stand(lambda out: out[:, :3]), samples(20), 1e-4)


def test_one_perturbed_weight_in_the_file_fails(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)
    ).eval()  # no dead unit hides a weight
    artifact = OnnxSpec().export(module, samples(4), tmp_path)
    compare(module, artifact, samples(30), 1e-4)
    model = onnx.load(str(artifact.path))
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
    weight = numpy_helper.to_array(tensor).copy()
    weight.flat[np.abs(weight).argmax()] *= 1.05
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    onnx.save(model, str(artifact.path))
    with pytest.raises(ParityError, match=artifact.path.name):
        compare(module, OnnxSpec().load(artifact.path), samples(30), 1e-4)
