"""Costs of model files: MACs by class as the torch counter has them, weights, and what lives at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from potstill.core.errors import DeviceError
from potstill.devices.cost import Cost
from potstill.devices.read import read_cost

FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, dtype: Any = np.float32) -> Any:
    """Return an initializer of zeros."""
    return numpy_helper.from_array(np.zeros(shape, dtype), name)


def saved(path: Path, nodes: list[Any], weights: list[Any], given: list[Any], out: str) -> Path:
    """Write a model of nodes with one input "x"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, given)],
        [helper.make_tensor_value_info(out, FLOAT, None)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def small(tmp_path: Path, given: list[Any] | None = None) -> Path:
    """A convolution, its activation, a depthwise one, a shortcut, a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "w3"], ["d"]),
        helper.make_node("Add", ["b", "d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w4"], ["y"]),
    ]
    weights = [
        weight("w1", 8, 3, 3, 3),
        weight("b1", 8),
        weight("w2", 8, 1, 3, 3),
        weight("w3", 8, 8, 1, 1),
        weight("w4", 128, 10),
    ]
    return saved(tmp_path / "m.onnx", nodes, weights, given or ["batch", 3, 4, 4], "y")


def test_each_class_is_counted_by_hand(tmp_path: Path) -> None:
    found = read_cost(small(tmp_path))
    assert found.macs_by_class == {"conv": 16 * 8 * 27, "dw": 16 * 8 * 9, "pw": 16 * 8 * 8, "fc": 1280}
    assert found.params == 216 + 8 + 72 + 64 + 1280 and found.vector_params == 8
    assert found.weight_bytes == 4 * found.params and found.dtype == "float32"
    assert found.layers == 6 + 1 + 1  # six operators with the activation folded, the input, and what is read twice
    assert found.activation_elements == 48 + 5 * 128 + 10
    assert found.peak_activation_bytes == 4 * 3 * 128  # the shortcut waits while the last convolution reads and writes


def test_in_integers_it_is_a_byte_a_weight(tmp_path: Path) -> None:
    found = read_cost(small(tmp_path)).as_int8()
    assert (found.weight_bytes, found.peak_activation_bytes) == (found.params + 3 * 8, 3 * 128)
    assert found.as_int8() is found


def test_a_file_in_integers_is_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["bq"]),
        helper.make_node("DequantizeLinear", ["bq", "s", "z"], ["y"]),
    ]
    weights = [
        weight("wq", 8, 3, 1, 1, dtype=np.int8),
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    found = read_cost(saved(tmp_path / "q.onnx", nodes, weights, [1, 3, 4, 4], "y"))
    assert found.dtype == "int8" and found.weight_bytes == found.params == 24
    assert found.macs_by_class == {"pw": 16 * 24}
    assert found.peak_activation_bytes == 4 * 48 + 48  # the input in float beside its codes; later only codes


def test_functions_of_a_model_are_looked_into(tmp_path: Path) -> None:
    inside = [helper.make_node("Gemm", ["a", "b"], ["c"])]
    function = helper.make_function("mine", "Dense", ["a", "b"], ["c"], inside, [helper.make_opsetid("", 18)])
    graph = helper.make_graph(
        [helper.make_node("Dense", ["x", "w"], ["y"], domain="mine")], "g", [helper.make_tensor_value_info("x", FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 4])], [weight("w", 8, 4)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9), tmp_path / "f.onnx")
    assert read_cost(tmp_path / "f.onnx").macs_by_class == {"fc": 32}


def test_open_sizes_are_asked_for(tmp_path: Path) -> None:
    path = small(tmp_path, ["batch", 3, "high", 4])
    with pytest.raises(DeviceError, match=r"got open x\[2\]=high\. Give them: --dim"):
        read_cost(path)
    assert read_cost(path, {"high": 4}).macs == read_cost(small(tmp_path)).macs


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "x.pb"
    other.write_bytes(b"x")
    for name, data, words in (
        ("a.onnx", b"not a model", "must be an ONNX model"), ("b.onnx", b"", "must be an ONNX model"),
        ("c.tflite", b"short", "TFL3"), ("d.tflite", b"\x20\0\0\1TFL3" + bytes(40), "whole .tflite file"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DeviceError, match=words):
            read_cost(tmp_path / name)
    for path, words in ((tmp_path / "none.onnx", "can be read"), (other, r"must be a \.onnx or \.tflite")):
        with pytest.raises(DeviceError, match=words):
            read_cost(path)
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)]
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    path = saved(tmp_path / "if.onnx", nodes, [numpy_helper.from_array(np.array(True), "c")], [1, 3], "y")
    with pytest.raises(DeviceError, match="got If"):
        read_cost(path)


@pytest.mark.parametrize(("kind", "sample"), [("ds-cnn", "image"), ("gru", "series"), ("vit", "image")])
def test_an_exported_model_has_the_macs_that_torch_counts(kind: str, sample: Any, tmp_path: Path) -> None:
    import torch

    from potstill.exporters.onnx import OnnxSpec
    from potstill.models import registry
    from potstill.models.tools.build import new_model
    from potstill.models.tools.profile import profile
    from potstill.testing.examples import example
    from potstill.testing.tiny import io_for, stats_for

    new = new_model(example(registry[kind]), io_for(sample), stats_for(sample))
    rows = np.zeros((2, *new.io.shape), new.io.dtype)
    artifact = OnnxSpec().export(torch.nn.Sequential(torch.nn.Identity(), new.module), rows, tmp_path)
    found, there = read_cost(artifact.path), profile(new.module, new.io)
    assert found.macs == there.macs > 0
    assert found.params == pytest.approx(there.params, rel=0.1)  # BatchNorm went into the convolutions
    if kind == "ds-cnn":
        assert found.peak_activation_bytes == there.peak_activation_bytes


PUBLISHED = {
    "ad01_int8": {"fc": 264192}, "pretrainedResnet_quant": {"conv": 12238848, "pw": 262144, "fc": 640},
    "kws_ref_model": {"conv": 320000, "pw": 2048000, "dw": 288000, "fc": 768},
    "vww_96_int8": {"conv": 497664, "pw": 6193152, "dw": 798336, "fc": 512},
}  # fmt: skip
"""Of the MLPerf Tiny models, as the rows of latency have them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_tflite_files_have_the_published_macs(name: str, shared_data: Path) -> None:
    found = read_cost(shared_data / "mlperf_tiny" / f"{name}.tflite")
    assert found.macs_by_class == PUBLISHED[name] and found.dtype == "int8"


def test_a_hybrid_file_computes_in_float(shared_data: Path) -> None:
    found = read_cost(shared_data / "mlperf_tiny" / "kws_ref_model_float32.tflite")
    assert found.dtype == "float32" and found.weight_bytes < 4 * found.params


def test_damaged_files_are_refused_by_name_or_counted(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "mlperf_tiny" / "kws_ref_model.tflite").read_bytes()
    draws = np.random.default_rng(0)
    for trial in range(60):
        data = bytearray(whole)
        for place in draws.integers(8, len(data), 400):
            data[place] = draws.integers(256)
        path = tmp_path / f"{trial}.tflite"
        path.write_bytes(data[: draws.integers(100, len(data))] if trial % 2 else data)
        try:
            assert isinstance(read_cost(path), Cost)
        except DeviceError as err:
            assert str(path) in str(err)


def test_foreign_onnx_is_counted(shared_data: Path) -> None:
    found = read_cost(shared_data / "models" / "speech_embedding" / "embedding_model.onnx")
    assert found.macs == 41955840 and set(found.macs_by_class) == {"conv"}
