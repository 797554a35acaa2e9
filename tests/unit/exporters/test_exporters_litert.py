"""LiteRT: what is written gives what the module gives, in float; in integers the numbers of the spec arrive in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from potstill.compress.quant_specs import CalibrationSpec
from potstill.compress.quantize import Quantised, quantise
from potstill.core import extras
from potstill.core.errors import ExportError, MissingExtraError, PotstillError
from potstill.exporters.litert import LiteRTSpec, _described
from potstill.exporters.parity import compare, compare_rounded
from potstill.models import registry
from potstill.models._blocks import ResNet
from potstill.models.inputs.preprocess import Normalise
from potstill.quant.spec import QuantSpec, ValueRange
from potstill.testing.examples import example
from potstill.testing.modules import plain, shortcut
from potstill.testing.quantised import check_quantised

INT8 = "int8_static_per_channel"


def exported(made: Quantised, x: np.ndarray, folder: Path, spec: QuantSpec | None = None) -> Any:
    return LiteRTSpec().export(nn.Sequential(nn.Identity(), made.module), x, folder, spec or made.spec)


def tensors(path: Path) -> list[dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    found: list[dict[str, Any]] = Interpreter(model_path=str(path)).get_tensor_details()
    return found


def numbers(path: Path) -> tuple[set[tuple[float, int]], set[tuple[float, ...]]]:
    """Return (scale and zero point of each int8 tensor of values, scales of each of weights)."""
    values, weights = set(), set()
    for tensor in tensors(path):
        kept = tensor["quantization_parameters"]
        if tensor["dtype"] is not np.int8:
            continue
        if len(kept["scales"]) == 1:
            values.add((float(kept["scales"][0]), int(kept["zero_points"][0])))
        else:
            weights.add(tuple(float(s) for s in kept["scales"]))
    return values, weights


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantised, np.ndarray, Any]:
    module, x = shortcut()
    made = quantise(module, x, INT8, CalibrationSpec())
    return made, x.numpy(), exported(made, x.numpy(), tmp_path_factory.mktemp("int8"))


def test_the_numbers_of_the_spec_arrive(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, _, artifact = int8
    values, weights = numbers(artifact.path)
    assert values == {(v.scale, v.zero_point) for v in made.spec.values.values()}
    assert weights == {w.scales for w in made.spec.weights.values()}
    assert not [t for t in tensors(artifact.path) if t["dtype"] is np.float32], "all is in integers, sums too"


def test_the_file_gives_what_the_model_that_rounds_gives(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, x, artifact = int8
    found = compare_rounded(made.module, made.fake, artifact, x, made.spec.values["head/linear"].scale)
    assert found.codes_equal is not None and found.codes_equal >= 0.99
    assert found.batches == [1, 2, 7, 16]


def test_an_altered_number_changes_the_file_and_its_answers(
    int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path
) -> None:
    made, x, artifact = int8
    place = "second/conv2d"
    wider = ValueRange(scale=made.spec.values[place].scale * 8, zero_point=made.spec.values[place].zero_point)
    altered = made.spec.model_copy(update={"values": {**made.spec.values, place: wider}})
    other = exported(made, x, tmp_path, altered)
    assert (wider.scale, wider.zero_point) in numbers(other.path)[0] - numbers(artifact.path)[0]
    assert np.abs(other(x) - artifact(x)).max() > 0


def test_a_model_of_integers_leaves_normalisation_to_the_host(
    int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path
) -> None:
    made, x, plain_file = int8
    mean, std = 0.3, 1.7
    front = Normalise((mean,), (std,), 4)
    pixels = x * np.float32(std) + np.float32(mean)
    artifact = LiteRTSpec().export(nn.Sequential(front, made.module), pixels, tmp_path, made.spec)
    kept = next(iter(made.spec.values.values()))
    told = {"dtype": "int8", "scale": pytest.approx(kept.scale), "zero_point": kept.zero_point}
    assert artifact.signature["inputs"] == told and artifact.signature["outputs"]["dtype"] == "int8"
    assert artifact.signature["host"] == {"do": "normalise", "mean": [pytest.approx(mean)], "std": [pytest.approx(std)]}
    assert not [t for t in tensors(artifact.path) if t["dtype"] is np.float32], "codes in, codes out"
    rounding = nn.Sequential(front, made.fake).eval()
    step = made.spec.values["head/linear"].scale
    found = compare_rounded(nn.Sequential(front, made.module), rounding, artifact, pixels, step)
    assert found.codes_equal is not None and found.codes_equal >= 0.99
    assert "host" not in plain_file.signature


@pytest.mark.parametrize(
    "said", ['{"mean": [0.1, 0.2], "std": [1, 1]}', '{"mean": [0.1], "std": [0]}', "[]", '{"mean": ["x"]}']
)
def test_a_description_that_cannot_be_is_named(
    said: str, int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path
) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(int8[2].path.read_bytes(), 0)
    model.description = f"potstill: samples\n{said}"
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "told.tflite").write_bytes(bytes(builder.Output()))
    with pytest.raises(PotstillError, match=r"told\.tflite: its description must"):
        LiteRTSpec().load(tmp_path / "told.tflite")


def test_weights_that_are_channels_last_in_memory_are_written_right(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = ResNet(3, 10, 1, 8, "pad").to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    x = torch.rand(4, 3, 32, 32)
    artifact = LiteRTSpec().export(module, x.numpy(), tmp_path)
    assert compare(module, artifact, x.numpy(), 1e-4).max_abs_diff < 1e-4


def test_weights_that_lie_behind_the_model_are_kept(int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path) -> None:
    """As AI Edge Quantizer leaves them; their places in the file are others once it says what it is."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def packed(model: Any) -> bytes:
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    model = schema.ModelT.InitFromPackedBuf(int8[2].path.read_bytes(), 0)
    kept = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    weights, kept.data, kept.offset = bytes(kept.data), None, 2
    kept.size = len(weights)
    kept.offset = -(-len(packed(model)) // 16) * 16
    data = packed(model).ljust(kept.offset, b"\0") + weights
    (tmp_path / "m.tflite").write_bytes(_described(data, None))
    assert np.array_equal(LiteRTSpec().load(tmp_path / "m.tflite")(int8[1]), int8[2](int8[1]))


def test_a_quantised_model_needs_its_front(int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path) -> None:
    made, x, _ = int8
    with pytest.raises(ExportError, match=r"nn\.Sequential\(before, model\)"):
        LiteRTSpec().export(made.module, x, tmp_path, made.spec)


@pytest.mark.parametrize("how", ["empty", "cut", "words", "no-mark"])
def test_a_damaged_file_is_named(how: str, int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path) -> None:
    data = int8[2].path.read_bytes()
    path = tmp_path / "damaged.tflite"
    path.write_bytes(
        {"empty": b"", "cut": data[: len(data) // 2], "words": b"hello", "no-mark": b"\0" * len(data)}[how]
    )
    with pytest.raises(PotstillError, match=r"damaged\.tflite"):
        LiteRTSpec().load(path)(int8[1])


def test_without_the_extra_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'potstill\[runtimes\]'"):
        LiteRTSpec().export(plain().eval(), np.zeros((2, 1, 8, 8), np.float32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scheme"), [("ds-cnn", "int4_conv"), ("ds-cnn", "float16"), ("text-transformer", "int8_dynamic")]
)
def test_the_other_schemes_give_what_the_model_that_rounds_gives(kind: str, scheme: Any, tmp_path: Path) -> None:
    found = check_quantised(example(registry[kind], tmp_path), scheme, LiteRTSpec())
    assert found.top1_agreement == 1.0


class Recurrent(nn.Module):
    """A GRU or LSTM, both ways, and a linear layer: [B, V, T] -> [B, 3]."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.head = cell(2, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.cell(x.transpose(1, 2))[0][:, -1])
        return out


@pytest.mark.slow
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_a_recurrent_layer_in_dynamic_int8_starts_from_a_state_that_is_computed(
    cell: type[nn.RNNBase], tmp_path: Path
) -> None:
    """LiteRT refuses a product of codes that gives float32, which a constant first state would become."""
    torch.manual_seed(0)
    module, x = Recurrent(cell).eval(), torch.randn(8, 2, 3)
    made = quantise(module, x, "int8_dynamic", CalibrationSpec())
    artifact = exported(made, x.numpy(), tmp_path)
    assert {"cell.weight_hh_l0", "cell.weight_hh_l0_reverse"} <= made.spec.weights.keys()
    wanted = made(x).detach().numpy()
    assert np.abs(artifact(x.numpy()) - wanted).max() <= 2 * np.ptp(wanted) / 255
    kept = [t for t in tensors(artifact.path) if t["dtype"] is np.int8 and t["shape"].tolist() == [24 if cell is nn.LSTM else 18, 6]]  # fmt: skip
    assert len(kept) >= 2, "weights of the state are codes"
