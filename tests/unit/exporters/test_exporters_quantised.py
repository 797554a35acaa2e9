"""Integers in ONNX: the numbers of the spec arrive in the file, and change it; the file gives what the model that rounds gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from potstill.compress.quant_specs import CalibrationSpec
from potstill.compress.quantize import Quantised, quantise
from potstill.core.errors import ExportError, ParityError
from potstill.exporters.onnx import OnnxSpec
from potstill.exporters.parity import compare_rounded
from potstill.quant.spec import QuantSpec, ValueRange
from potstill.testing.modules import shortcut

INT8 = "int8_static_per_channel"


def made_of(scheme: Any) -> tuple[Quantised, np.ndarray]:
    module, x = shortcut()
    return quantise(module, x, scheme, CalibrationSpec()), x.numpy()


def exported(made: Quantised, x: np.ndarray, folder: Path, spec: QuantSpec | None = None) -> Any:
    whole = nn.Sequential(nn.Identity(), made.module)
    return OnnxSpec().export(whole, x, folder, spec or made.spec)


def numbers(path: Path) -> tuple[dict[str, tuple[float, int]], dict[str, list[float]]]:
    """Return (place -> scale and zero point of its QuantizeLinear, weight -> scales of its DequantizeLinear) of a file."""
    graph = onnx.load(str(path)).graph
    held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values, weights = {}, {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            place = node.input[1].removeprefix("1.places.").removesuffix(".scale").replace(":", ".")
            values[place] = (float(held[node.input[1]]), int(held[node.input[2]]))
        elif node.op_type == "DequantizeLinear" and node.input[0].endswith("weight.codes"):
            weight = node.input[0].removeprefix("1.kept.").removesuffix(".codes").replace(":", ".")
            weights[weight] = held[node.input[1]].tolist()
    return values, weights


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantised, np.ndarray, Any]:
    made, x = made_of(INT8)
    return made, x, exported(made, x, tmp_path_factory.mktemp("int8"))


def test_the_numbers_of_the_spec_arrive(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, _, artifact = int8
    values, weights = numbers(artifact.path)
    assert values == {name: (v.scale, v.zero_point) for name, v in made.spec.values.items()}
    assert weights == {name: list(w.scales) for name, w in made.spec.weights.items()}
    held = onnx.load(str(artifact.path)).graph.initializer
    codes = {t.name: t.data_type for t in held if t.name.endswith(".codes")}
    assert {n for n, kind in codes.items() if kind == onnx.TensorProto.INT8} == {
        f"1.kept.{w.replace('.', ':')}.codes" for w in weights
    }
    assert sum(kind == onnx.TensorProto.INT32 for kind in codes.values()) == 3, "biases, that of the norm folded in"


def test_an_altered_number_changes_the_file_and_its_answers(
    int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path
) -> None:
    made, x, artifact = int8
    place = "second/conv2d"
    wider = ValueRange(scale=made.spec.values[place].scale * 8, zero_point=made.spec.values[place].zero_point)
    altered = made.spec.model_copy(update={"values": {**made.spec.values, place: wider}})
    other = exported(made, x, tmp_path, altered)
    values, _ = numbers(other.path)
    assert values[place][0] == wider.scale != made.spec.values[place].scale
    assert {n: v for n, v in values.items() if n != place} == {
        n: v for n, v in numbers(artifact.path)[0].items() if n != place
    }
    assert np.abs(other(x) - artifact(x)).max() > 0


def test_the_file_gives_what_the_model_that_rounds_gives(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, x, artifact = int8
    assert made.spec.output == "head/linear"
    found = compare_rounded(made.module, made.fake, artifact, x, made.spec.values["head/linear"].scale)
    assert (
        found.codes_equal is not None
        and found.codes_equal >= 0.99
        and found.codes_max is not None
        and found.codes_max <= 1.001
    )
    assert found.batches == [1, 2, 7, 16]


def test_parity_of_codes_can_fail(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, x, artifact = int8
    step = made.spec.values["head/linear"].scale

    class Shifted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return made.fake(x) + 3 * step

    with pytest.raises(ParityError, match="within 1 of it"):
        compare_rounded(made.module, Shifted(), artifact, x, step)


def test_a_layer_in_float_stays_float_in_the_file(tmp_path: Path) -> None:
    module, x = shortcut()
    made = quantise(module, x, INT8, CalibrationSpec(), ("second",))
    artifact = exported(made, x.numpy(), tmp_path)
    _, weights = numbers(artifact.path)
    assert set(weights) == {"first.weight", "head.weight"}
    held = {tuple(t.dims): t.data_type for t in onnx.load(str(artifact.path)).graph.initializer}
    assert held[4, 4, 3, 3] == onnx.TensorProto.FLOAT
    step = made.spec.values["head/linear"].scale
    assert compare_rounded(made.module, made.fake, artifact, x.numpy(), step).codes_equal == 1.0


def test_four_bits_are_two_codes_a_byte(tmp_path: Path) -> None:
    made, x = made_of("int4_conv")
    artifact = exported(made, x, tmp_path)
    held = {t.name: t for t in onnx.load(str(artifact.path)).graph.initializer}
    packed = held["1.kept.second:weight.codes"]
    assert packed.data_type == onnx.TensorProto.UINT8 and list(packed.dims) == [4 * 4 * 9 // 2]
    assert held["1.kept.head:weight.codes"].data_type == onnx.TensorProto.INT8
    assert list(held["1.kept.second:weight.scales"].dims) == [4]
    step = made.spec.values["head/linear"].scale
    assert compare_rounded(made.module, made.fake, artifact, x, step).codes_equal == 1.0


def test_float16_is_kept_and_computed_in_float(tmp_path: Path) -> None:
    made, x = made_of("float16")
    artifact = exported(made, x, tmp_path)
    held = [t for t in onnx.load(str(artifact.path)).graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert sorted(list(t.dims) for t in held) == sorted(list(p.shape) for p in made.module.parameters() if p.ndim > 1)
    assert np.abs(artifact(x) - made(torch.from_numpy(x)).numpy()).max() < 1e-5
    assert np.abs(artifact(x) - made.module(torch.from_numpy(x)).detach().numpy()).max() > 0


def test_dynamic_ranges_are_those_of_the_batch(tmp_path: Path) -> None:
    made, x = made_of("int8_dynamic")
    artifact = exported(made, x, tmp_path)
    graph = onnx.load(str(artifact.path)).graph
    assert [n.op_type for n in graph.node].count("MatMulInteger") == 1 and not made.spec.values
    ours = made(torch.from_numpy(x)).numpy()
    assert np.abs(artifact(x) - ours).max() < 1e-4 * np.abs(ours).max()
    assert {t.data_type for t in graph.initializer if t.name.endswith("codes")} == {
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    }


def test_a_quantised_model_needs_its_front(tmp_path: Path) -> None:
    made, x = made_of("float16")
    with pytest.raises(ExportError, match=r"nn\.Sequential\(before, model\)"):
        OnnxSpec().export(made.module, x, tmp_path, made.spec)
