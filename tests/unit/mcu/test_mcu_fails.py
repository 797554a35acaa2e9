"""What must fail does: a changed weight, a small RAM, an unmapped read, a missing tool, what no kernel expresses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _mcu_models import network
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.core.errors import BudgetError, EmulationError, ExportError, MissingExtraError, ParityError, PotstillError
from potstill.mcu import build
from potstill.mcu.build import CORES, build_core, emulated_text
from potstill.mcu.cycles import cycles
from potstill.mcu.export import generate, write_folder
from potstill.mcu.model import Model, Op
from potstill.mcu.read import parse
from potstill.mcu.write import write_model
from potstill.testing.one_operator import Draft, random_model
from potstill.verify.emulated import check_ours, target_of, verify_on_core

M4 = CORES["cortex-m4"]


@pytest.fixture(scope="module", autouse=True)
def _tools(require_tool: Callable[..., str]) -> None:
    for name in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        require_tool(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "c"
    write_folder(generate(write_model(network()), "network.tflite"), out)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "c"))


def test_the_folder_is_the_same_each_time_and_checks_itself(
    folder: Path, tmp_path: Path, require_tool: Callable[..., str]
) -> None:
    again = generate(write_model(network()), "network.tflite")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == again.files
    shutil.copytree(folder, tmp_path / "c")
    command = [require_tool("make"), "-s", "-C", str(tmp_path / "c"), "check", "check-m4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (done.stdout + done.stderr).count("all outputs equal the golden vectors") == 2, (
        done.stderr
    )
    golden = tmp_path / "c" / "golden.c"
    text = golden.read_text()
    at = text.index("golden_outputs")
    first = re.search(r"\n(\d+),", text[at:])
    assert first is not None
    golden.write_text(text[:at] + text[at:].replace(f"\n{first[1]},", f"\n{(int(first[1]) + 1) % 256},", 1))
    assert subprocess.run(command[:-1], capture_output=True, check=False).returncode != 0


def test_one_weight_changed_by_one_is_a_mismatch(copy: Path) -> None:
    source = (copy / "model.c").read_text()
    weights = re.search(r"static const int8_t k\d+\[\d+\] = \{\n(-?\d+),", source)
    assert weights is not None
    changed = int(weights[1]) + (1 if int(weights[1]) < 127 else -1)
    (copy / "model.c").write_text(source[: weights.start(1)] + str(changed) + source[weights.end(1) :])
    with pytest.raises(PotstillError, match=r"model\.c is not what this version of potstill makes.*--run-program"):
        check_ours(copy)
    with pytest.raises(ParityError, match="must give TensorFlow Lite Micro's codes"):
        verify_on_core(copy, target_of("cortex-m4"), None, 8)


def test_what_does_not_fit_is_said(folder: Path, tmp_path: Path) -> None:
    for flash, ram, word in ((1 << 20, 5000, "RAM"), (6000, 1 << 18, "flash")):
        with pytest.raises(BudgetError, match=f"must fit the device's {word}") as stop:
            build_core(folder, M4, tmp_path / "m4.elf", flash_bytes=flash, ram_bytes=ram)
        assert stop.value.exit_code == 3


@pytest.mark.parametrize("what", ["*(volatile int *)0x60000000u", "((void (*)(void))0x60000001u)(), 0"])
def test_a_fault_on_the_core_is_no_answer(folder: Path, tmp_path: Path, what: str) -> None:
    main = tmp_path / "main.c"
    main.write_text(f"int main(void) {{ return {what}; }}\n")
    image = build_core(folder, M4, tmp_path / "m4.elf", flash_bytes=1 << 20, ram_bytes=1 << 18, main=[main])
    with pytest.raises(EmulationError, match="a fault of the core") as stop:
        emulated_text(image.path, M4, b"")
    assert stop.value.exit_code == 6


def test_a_missing_tool_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(build.shutil, "which", lambda name: None if "arm" in name else which(name))
    with pytest.raises(MissingExtraError, match="apt-get install gcc-arm-none-eabi") as stop:
        verify_on_core(folder, target_of("cortex-m4"), None, 1)
    assert stop.value.exit_code == 5


def refused(model: Model) -> str:
    with pytest.raises(ExportError) as stop:
        generate(write_model(model), model.name)
    return str(stop.value)


def test_what_is_not_expressed_is_refused_by_operator_layer_and_reason(tmp_path: Path) -> None:
    d = Draft(np.random.default_rng(0))
    attention = d.model(
        "BATCH_MATMUL", (d.codes((1, 4, 4), 0.1, 0), d.codes((1, 4, 4), 0.1, 0)), (d.codes((1, 4, 4), 0.1, 0),)
    )
    said = refused(attention)
    assert (
        "operator 0 (BATCH_MATMUL, layer 't2')" in said
        and "Attention" in said
        and "TensorFlow Lite Micro's interpreter" in said
    )
    d = Draft(np.random.default_rng(0))
    floats = d.model("RELU", (d.floats((1, 4)),), (d.floats((1, 4)),))
    assert "got float32" in refused(floats) and "int8_static_per_channel" in refused(floats)
    d = Draft(np.random.default_rng(0))
    computed = d.model(
        "FULLY_CONNECTED",
        (d.codes((1, 4), 0.1, 0), d.codes((4, 4), 0.1, 0), -1),
        (d.codes((1, 4), 0.1, 0),),
        activation=0,
    )
    assert "must have constant weights" in refused(computed)
    d = Draft(np.random.default_rng(0))
    moved = d.model("TRANSPOSE", (d.codes((2, 3), 0.1, 0), d.whole([1, 0])), (d.codes((3, 2), 0.2, 0),))
    assert "must give codes of the scale" in refused(moved)
    path = tmp_path / "attention.tflite"
    path.write_bytes(write_model(attention))
    done = CliRunner().invoke(app, ["export-c", str(path), "--out", str(tmp_path / "c")])
    assert isinstance(done.exception, ExportError) and not (tmp_path / "c").exists()


def test_sums_that_could_overflow_are_refused() -> None:
    model = random_model("FULLY_CONNECTED", (5, 0))
    (op,) = model.ops
    bias = op.inputs[2]
    assert bias >= 0
    data = model.tensors[bias].data
    assert data is not None
    huge = replace(model.tensors[bias], data=np.full_like(data, 2**31 - 5))
    tensors = tuple(huge if i == bias else t for i, t in enumerate(model.tensors))
    assert "must keep its sums below 2^31" in refused(replace(model, tensors=tensors))


@pytest.mark.parametrize("how", ["cut", "words", "empty"])
def test_a_damaged_file_is_an_error(how: str) -> None:
    data = write_model(network())
    with pytest.raises(ExportError, match=r"x\.tflite: must be a whole"):
        parse({"cut": data[: len(data) // 3], "words": b"TFL3" * 9, "empty": b"\0" * 64}[how], "x.tflite")


def test_an_operator_must_read_what_was_made() -> None:
    model = network()
    later, last = model.ops[1].outputs[0], model.ops[2].outputs[0]
    early = Op(0, "RELU", (later,), (last,), {})
    with pytest.raises(ExportError, match="must read what is made before it"):
        parse(write_model(replace(model, ops=(early,), outputs=(last,))), "x.tflite")


def test_a_folder_with_other_files_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="must be a folder that is empty"):
        write_folder(generate(write_model(network()), "network.tflite"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_devices_stand_for_their_cores() -> None:
    board = target_of("stm32l4r5")
    assert board.core is M4 and board.ram_bytes == 655360 and board.clock_mhz == (120, 120)
    with pytest.raises(PotstillError, match="rp2040"):
        target_of("rp2040")
    with pytest.raises(PotstillError, match="Nearest: 'cortex-m4'"):
        target_of("cortex-m44")


def test_verify_on_a_device_says_what_was_emulated_and_what_modelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)  # a relative path, as people give it
    done = CliRunner().invoke(app, ["verify", folder.name, "--device", "stm32l4r5", "--rows", "3", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["codes"] == {"equal": True, "rows_here": 6, "rows_emulated": 3, "rows_are": "made up"}
    assert facts["instructions"]["source"] == "emulated" and facts["latency_ms"]["source"] == "modelled"
    low, high = facts["latency_ms"]["low"], facts["latency_ms"]["high"]
    assert low == pytest.approx(facts["instructions"]["value"] * 1.23 / 120e3) and low < high
    assert cycles("cortex-m3", 1000, dense=False)[0] is None
