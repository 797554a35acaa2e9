"""ExecuTorch: integers with the numbers of the spec, what is refused, and that a damaged file is an error that names it; what it gives in
float is checked by the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from potstill.compress.quant_specs import CalibrationSpec
from potstill.compress.quantize import Quantised, quantise
from potstill.core.errors import ExportError, PotstillError
from potstill.exporters.executorch import ExecuTorchSpec
from potstill.exporters.parity import compare_rounded
from potstill.quant.spec import QuantSpec, ValueRange
from potstill.testing.modules import Shortcut, plain


@pytest.mark.parametrize("data", [b"", b"hello", b"\x10\0\0\0ET12" + bytes(200)], ids=["empty", "words", "zeros"])
def test_a_damaged_file_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pte"
    path.write_bytes(data)
    with pytest.raises(PotstillError, match=r"damaged\.pte"):
        ExecuTorchSpec().load(path)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantised, np.ndarray, Any]:
    torch.manual_seed(0)
    module, x = Branching().eval(), torch.randn(16, 1, 6, 6)
    made = quantise(module, x, "int8_static_per_channel", CalibrationSpec())
    return made, x.numpy(), exported(made, x.numpy(), tmp_path_factory.mktemp("int8"))


def exported(made: Quantised, x: np.ndarray, folder: Path, spec: QuantSpec | None = None) -> Any:
    return ExecuTorchSpec().export(nn.Sequential(nn.Identity(), made.module), x, folder, spec or made.spec)


class Branching(Shortcut):
    """A sum, and two branches of other ranges that are joined; weights with channels last in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(8, 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        both = torch.cat([self.second(x) + x, x * 3], dim=1)
        out: Tensor = self.head(self.dropout(both.mean(dim=(2, 3))))
        return out


def test_static_integers_are_those_of_the_model_that_rounds(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    made, x, artifact = int8
    found = compare_rounded(made.module, made.fake, artifact, x, made.spec.values["head/linear"].scale)
    assert found.codes_equal == 1.0
    assert b"aten::convolution" not in artifact.path.read_bytes(), "XNNPACK has them all"


def test_an_altered_number_changes_the_answers(int8: tuple[Quantised, np.ndarray, Any], tmp_path: Path) -> None:
    made, x, artifact = int8
    place = "second/conv2d"
    wider = ValueRange(scale=made.spec.values[place].scale * 8, zero_point=made.spec.values[place].zero_point)
    altered = made.spec.model_copy(update={"values": {**made.spec.values, place: wider}})
    assert np.abs(exported(made, x, tmp_path, altered)(x) - artifact(x)).max() > 0


@pytest.mark.parametrize("scheme", ["float16", "int8_dynamic"])
def test_schemes_of_float_values_are_refused(scheme: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"in float32 or of .*; got scheme '{scheme}'"):
        ExecuTorchSpec().export(plain().eval(), np.zeros((2, 1, 8, 8), np.float32), tmp_path, QuantSpec(scheme=scheme))


def test_it_computes_on_as_many_threads_as_are_asked_for(int8: tuple[Quantised, np.ndarray, Any]) -> None:
    code = (
        "import sys; from pathlib import Path; from potstill.core.runtimes.executorch import opened\n"
        "from executorch.extension.pybindings import portable_lib as there\n"
        "for threads in (1, 2):\n"
        "    opened(Path(sys.argv[1]), threads)\n"
        "    print('threads', there._threadpool_get_thread_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(int8[2].path)], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if line.startswith("threads")] == ["threads 1", "threads 2"], done.stderr  # fmt: skip
