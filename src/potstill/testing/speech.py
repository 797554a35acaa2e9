"""Tiny ONNX files with the shapes of the speech embedding's two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def melspectrogram_of(folder: Path) -> Path:
    """Write [1, samples] -> [1, 1, samples / 160, 32], filters of noise over each 10 ms, and return its path."""
    from onnx import helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(32, 1, 160)).astype(np.float32) / 4096
    nodes = [
        helper.make_node("Reshape", ["sound", "wide"], ["one"]),
        helper.make_node("Conv", ["one", "weight"], ["bands"], strides=[160]),
        helper.make_node("Transpose", ["bands"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["frames", "shape"], ["mel"]),
    ]
    constants = {"weight": weight, "wide": np.array([1, 1, -1]), "shape": np.array([1, 1, -1, 32])}
    given = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return _written(folder / "melspectrogram.onnx", nodes, ("sound", [1, "samples"]), ("mel", ["a", 1, "b", 32]), given)


def embedding_of(folder: Path) -> Path:
    """Write [windows, 76, 32, 1] -> [windows, 1, 1, 32], deviations over time, and return its path."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Abs", ["windows"], ["sizes"]),
        helper.make_node("ReduceMean", ["sizes", "axes"], ["mean"], keepdims=1),
        helper.make_node("Transpose", ["mean"], ["features"], perm=[0, 1, 3, 2]),
    ]
    given = [numpy_helper.from_array(np.array([1]), "axes")]
    return _written(
        folder / "embedding.onnx", nodes, ("windows", ["w", 76, 32, 1]), ("features", ["w", 1, 1, 32]), given
    )


def _written(
    path: Path, nodes: list[Any], given: tuple[str, Any], found: tuple[str, Any], constants: list[Any]
) -> Path:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (given, found)]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path
