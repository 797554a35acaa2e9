"""A teacher of the handwritten digits made in milliseconds (random tanh features, least squares), as torch and as ONNX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from potstill.models import ModelIO

CLASSES = [f"digit {k}" for k in range(10)]
NUM_TRAIN = 1300
IO = ModelIO((10,), (1, 8, 8))


@functools.cache
def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pixels [1797, 1, 8, 8] float32 in [0, 1] and labels [1797] int64."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64)


@functools.cache
def unseen() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return 300 rows that no teacher here was fitted on."""
    pixels, labels = digits()
    return pixels[NUM_TRAIN : NUM_TRAIN + 300], labels[NUM_TRAIN : NUM_TRAIN + 300]


@dataclass(frozen=True)
class Weights:
    """tanh(x @ first + bias) @ second, x flattened."""

    first: NDArray[Any]
    bias: NDArray[Any]
    second: NDArray[Any]

    def logits(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float64: what every copy of this teacher must give."""
        flat = inputs.reshape(len(inputs), -1).astype(np.float64)
        out: NDArray[Any] = np.tanh(flat @ self.first + self.bias) @ self.second
        return out


def fitted(pixels: NDArray[Any], labels: NDArray[Any], classes: int = 10, seed: int = 0, num: int = 256) -> Weights:
    """Return a teacher fitted on its own inputs, whatever their scale, order and layout."""
    rng = np.random.default_rng(seed)
    flat = pixels.reshape(len(pixels), -1).astype(np.float64)
    spread = flat.std() * np.sqrt(flat.shape[1])
    first = rng.normal(size=(flat.shape[1], num)) / spread
    bias = -flat.mean(axis=0) @ first + rng.normal(size=num) * 0.3
    hidden = np.tanh(flat @ first + bias)
    target = 8 * (np.eye(classes)[labels] - 1 / classes)
    second = np.linalg.solve(hidden.T @ hidden + np.eye(num), hidden.T @ target)
    return Weights(*(w.astype(np.float32) for w in (first, bias, second)))


@functools.cache
def teacher_weights(seed: int = 0) -> Weights:
    """Return the teacher of digits in [0, 1]."""
    pixels, labels = digits()
    return fitted(pixels[:NUM_TRAIN], labels[:NUM_TRAIN], seed=seed)


def as_torch(weights: Weights) -> nn.Sequential:
    """Return the module, in training mode, as modules come."""
    module = nn.Sequential(
        nn.Flatten(),
        nn.Linear(*weights.first.shape),
        nn.Tanh(),
        nn.Linear(*weights.second.shape, bias=False),
    )
    with torch.no_grad():
        module[1].weight.copy_(torch.from_numpy(weights.first.T.copy()))
        module[1].bias.copy_(torch.from_numpy(weights.bias))
        module[3].weight.copy_(torch.from_numpy(weights.second.T.copy()))
    return module


def as_onnx(
    weights: Weights, path: Path, shape: tuple[int | str, ...] = ("n", 1, 8, 8), *, softmax: bool = False,
    dtype: int = TensorProto.FLOAT, external: str | None = None, edit: Callable[[onnx.ModelProto], None] | None = None,
) -> Path:  # fmt: skip
    """Write the teacher as an ONNX file.

    Args:
        weights: as fitted.
        path: of the file.
        shape: of its input; a name makes a dimension dynamic.
        softmax: give probabilities.
        dtype: of its input.
        external: location of the tensor `second`, whose bytes are NOT written.
        edit: last changes to the model.
    """
    tensors = [numpy_helper.from_array(getattr(weights, n), n) for n in ("first", "bias", "second")]
    if external is not None:
        tensors[2] = outside(tensors[2], external)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first", "bias"], ["summed"]),
        helper.make_node("Tanh", ["summed"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["raw"]),
        helper.make_node("Softmax" if softmax else "Identity", ["raw"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("pixels", dtype, list(shape))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], weights.second.shape[1]])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if edit is not None:
        edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def outside(tensor: TensorProto, location: str) -> TensorProto:
    """Return a tensor whose bytes are said to lie in another file."""
    out = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    out.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(tensor.raw_data)))):
        entry = out.external_data.add()
        entry.key, entry.value = key, value
    return out


class Labels:
    """A labeller that is a function; keeps what it was shown."""

    def __init__(
        self, function: Callable[[NDArray[Any]], NDArray[Any]], output: Literal["logits", "probabilities"] = "logits",
        num_classes: int = 10,
    ) -> None:  # fmt: skip
        self.function, self.output, self.num_classes = function, output, num_classes
        self.seen: list[NDArray[Any]] = []

    def __call__(self, pixels_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K]."""
        self.seen.append(pixels_BCHW)
        return self.function(pixels_BCHW)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    out: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return out
