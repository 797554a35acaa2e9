"""What generated C takes is known from the graph: beside what was built, emulated and planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from _mcu_models import network

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.mcu.build import CORES, build_core, kernel_sizes
from potstill.mcu.estimate import CODE, estimate, estimate_of
from potstill.mcu.export import generate, program_of, write_files
from potstill.mcu.instructions import MOST_OFF
from potstill.mcu.read import parse
from potstill.mcu.write import write_model
from potstill.testing.one_operator import MAKERS, random_model, side_by_side

M4 = CORES["cortex-m4"]
MEASURED = Path(__file__).parents[3] / "docs" / "results" / "mcu.json"


@pytest.mark.parametrize("dead", [(), (1, 2, 5)])
def test_a_build_lies_within_what_is_estimated(dead: tuple[int, ...], tmp_path: Path, require_tool: Callable[..., str]) -> None:  # fmt: skip
    require_tool("arm-none-eabi-gcc")
    data = write_model(network(dead))
    made, found = generate(data, "network.tflite"), estimate(data, "network.tflite")
    write_files(made, tmp_path / "c")
    image = build_core(tmp_path / "c", M4, tmp_path / "m4.elf", flash_bytes=M4.flash_bytes, ram_bytes=M4.ram_bytes)
    assert round(found.instructions) == made.report["instructions_m4"]["value"]
    assert found.flash_bytes[0] <= image.code_bytes + image.weight_bytes <= found.flash_bytes[1]
    assert image.weight_bytes <= found.constant_bytes + 64 <= image.weight_bytes + 1024
    assert found.arena_bytes == made.plan.arena + 4 * 9 and 0 <= image.static_ram_bytes - found.arena_bytes <= 16


def test_kernels_are_of_the_size_that_the_table_has(require_tool: Callable[..., str]) -> None:
    require_tool("arm-none-eabi-gcc")
    table, built = atomic.read_json(CODE), kernel_sizes(M4)
    assert table.keys() == built.keys()
    assert all(abs(table[k] / built[k] - 1) < 0.25 for k in table), "another compiler's may differ, not by much"


def test_no_network_that_was_emulated_is_further_off_than_is_said() -> None:
    off = [abs(row["modelled_off"]) for row in atomic.read_json(MEASURED)["models"]]
    assert len(off) == 11 and max(off) <= MOST_OFF + 5e-4


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"])
def test_files_of_others_take_what_was_measured(name: str, shared_data: Path) -> None:
    named = {"ad01_int8": "autoencoder", "kws_ref_model": "keyword spotting", "pretrainedResnet_quant": "ResNet-8", "vww_96_int8": "wake words"}  # fmt: skip
    (row,) = [r for r in atomic.read_json(MEASURED)["models"] if r["model"] == named[name]]
    found = estimate((shared_data / "mlperf_tiny" / f"{name}.tflite").read_bytes(), name)
    assert abs(found.instructions / row["instructions"] - 1) <= MOST_OFF
    assert found.flash_bytes[0] <= row["flash_bytes"] <= found.flash_bytes[1]
    assert found.ram_bytes[0] <= row["ram_bytes"] + row["stack_bytes"] <= found.ram_bytes[1]
    assert found.dense == (name == "ad01_int8")


def test_tables_are_not_asked_for() -> None:
    """Every kind of operator is counted as it is generated, though no table is made."""
    data = write_model(side_by_side([random_model(kind, (3, 0)) for kind in MAKERS], "all.tflite"))
    whole, found = program_of(parse(data, "all.tflite")), estimate(data, "all.tflite")
    assert len(whole.calls) == found.calls and whole.taps > 0
    assert {c.kernel for c in whole.calls} >= {"ps_table_s8", "ps_softmax_s8", "ps_float_binary"}
    assert estimate_of(found.as_dict()) == found


def test_what_has_no_kernel_is_refused_with_its_reason() -> None:
    model = random_model("LOGISTIC", (3, 0))
    refused = write_model(model.__class__(model.name, model.tensors, tuple(op.__class__(op.index, "EXP", op.inputs, op.outputs, {}) for op in model.ops), model.inputs, model.outputs))  # fmt: skip
    with pytest.raises(ExportError, match=r"operator 0 \(EXP, layer .*must be one of"):
        estimate(refused, "exp.tflite")


def test_a_share_of_the_products_is_a_share_of_their_instructions() -> None:
    whole = estimate(write_model(network()), "network.tflite")
    half = whole.scaled(0.5, 0.4, 0.8)
    assert half.instructions == pytest.approx(0.5 * whole.product_instructions + 0.8 * whole.value_instructions + whole.place_instructions)  # fmt: skip
    assert half.constant_bytes == int(0.4 * whole.constant_bytes) and half.kernel_bytes == whole.kernel_bytes


def test_shapes_that_contradict_one_another_are_named() -> None:
    """A tensor without dimensions between layers, as a flipped byte leaves it."""
    model = network()
    made = model.ops[0].outputs[0]
    tensors = tuple(replace(t, shape=()) if i == made else t for i, t in enumerate(model.tensors))
    with pytest.raises(ExportError, match=r"network\.tflite: must be a whole .*contradict one another"):
        program_of(replace(model, tensors=tensors))
