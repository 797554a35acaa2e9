"""`devices` and `fit` as a stranger meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import potstill as ps
from potstill.cli import main
from potstill.cli.app import app
from potstill.devices.catalogue import names

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution of 6 million MACs, a mean and a product."""
    path = tmp_path_factory.mktemp("fit") / "m.onnx"
    weights = [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in (("w", (24, 3, 3, 3)), ("v", (24, 10)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("GlobalAveragePool", ["a"], ["m"]),
             helper.make_node("Flatten", ["m"], ["b"]), helper.make_node("Gemm", ["b", "v"], ["y"])]  # fmt: skip
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 96, 96])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "g", [given], [made], weights),
            ir_version=9,
            opset_imports=[helper.make_opsetid("", 18)],
        ),
        path,
    )
    return path


def said(*args: object) -> tuple[int, str]:
    """Return (exit code, standard output)."""
    done = RUNNER.invoke(app, list(map(str, args)), env={"COLUMNS": "140", "TERMINAL_WIDTH": "140"})
    return done.exit_code, done.stdout


def code_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: object) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) through `main`."""
    monkeypatch.setattr(sys, "argv", ["potstill", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_every_device_is_listed() -> None:
    code, out = said("devices")
    assert code == 0 and all(name in out for name in names())
    found = {d["name"]: d for d in json.loads(said("devices", "--json")[1])}
    assert sorted(found) == sorted(names())
    assert any("error_mean" in e for e in found["rpi4"]["latency"]) and "reason" in found["esp32s3"]["latency"][0]


def test_every_fact_is_shown_with_its_source() -> None:
    code, out = said("devices", "show", "stm32l4r5")
    out = " ".join(out.split())  # a cell may be broken between any two words
    assert code == 0 and "Cortex-M4F" in out and "verified" in out and "held out" in out and "[0.1" not in out


def test_every_device_is_judged(model: Path) -> None:
    code, out = said("fit", model)
    assert code == 0 and all(name in out for name in names()) and "none measured" in out
    lines = [json.loads(line) for line in said("fit", model, "--json", "--as", "int8")[1].splitlines()]
    assert len(lines) == len(names()) and all(entry["cost"]["dtype"] == "int8" for entry in lines)
    words = {line["word"] for entry in lines for j in entry["runtimes"] for line in j["lines"]}
    assert words == {"modelled", "unknown"}


def test_a_named_device_that_it_does_not_fit_is_exit_3(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("fit", model, "--as", "int8", "--latency-ms", "0.001")
    code, out, err = code_of(capsys, monkeypatch, *args, "--device", "stm32h743")
    assert code == 3 and "does not fit" in out and "fewer MACs" in out
    assert err.startswith("error: stm32h743: must fit its budget") and "Traceback" not in err
    assert said(*args, "--all-devices")[0] == 0
    assert said("fit", model, "--as", "int8", "--device", "stm32h743", "--latency-ms", "1000")[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.onnx"], "can be read"), (["MODEL", "--device", "rpi44"], "Nearest: 'rpi4'"), (["MODEL", "--latency-ms", "0"], "must be above 0"),
        (["MODEL", "--dim", "length"], "must be NAME=N"),
    ],
)  # fmt: skip
def test_a_fault_is_one_message(
    args: list[str], words: str, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = code_of(capsys, monkeypatch, "fit", *(str(model) if a == "MODEL" else a for a in args))
    assert code == 2 and out == "" and words in err and "Traceback" not in err


def test_python_says_the_same(model: Path) -> None:
    best = ps.fit(model, "stm32h743", int8=True, latency_ms=1000)[0]
    assert best.verdict == "fits" and best.latency.value_ms


def test_generated_c_is_one_more_runtime(shared_data: Path) -> None:
    """Of MLPerf Tiny's files, beside the published runtimes; a file that does not become C says why."""
    for name, least, most in (("kws_ref_model", 73, 98), ("pretrainedResnet_quant", 250, 332), ("ad01_int8", 5.8, 9.3), ("vww_96_int8", 152, 203)):  # fmt: skip
        code, out = said("fit", shared_data / "mlperf_tiny" / f"{name}.tflite", "--device", "stm32l4r5", "--json")
        (found,) = [j for j in json.loads(out)["runtimes"] if j["runtime"]["runtime"] == "potstill C"]
        lines = {line["name"]: line for line in found["lines"]}
        assert code == 0 and found["verdict"] == "fits" and found["lines"][0]["word"] == "modelled"
        assert least < lines["latency_ms"]["low"] < lines["latency_ms"]["high"] < most
    code, out = said("fit", shared_data / "mlperf_tiny" / "kws_ref_model.tflite", "--device", "stm32l4r5")
    assert "under potstill C" in out and "M instructions, modelled to 4 %, at 120 MHz" in out and "X-CUBE-AI" in out
    code, out = said("devices", "show", "nano33ble")
    assert code == 0 and "potstill C" in out and "no rows: instructions modelled" in out
