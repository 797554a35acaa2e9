"""Generated C gives TensorFlow Lite Micro's codes, and the NumPy reference's: every operator, here under sanitizers and on an emulated core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _mcu_models import network

from potstill.core.generated import report_of
from potstill.mcu.build import CORES, Core, build_core, build_host, emulate, emulated_text, run_host
from potstill.mcu.export import Rows, generate, made_up, write_files
from potstill.mcu.model import Model
from potstill.mcu.oracle import Oracle
from potstill.mcu.read import parse
from potstill.mcu.rows import num_different
from potstill.mcu.write import write_model
from potstill.testing import integers
from potstill.testing.one_operator import MAKERS, random_model, side_by_side

M4 = CORES["cortex-m4"]
DOSES = {"CONV_2D": 10, "DEPTHWISE_CONV_2D": 10, "FULLY_CONNECTED": 10}
"""Kinds of which more models are needed to meet a rounding that is wrong for ties alone."""


@pytest.fixture(scope="module", autouse=True)
def _tools(require_tool: Callable[..., str]) -> None:
    for name in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        require_tool(name)


def oracles(data: bytes, model: Model, rows: Rows) -> Rows:
    oracle = Oracle(data, model)
    found = oracle(rows)
    oracle.close()
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Rows, Rows, Path]:
    """One model of two random operators of every kind, of some more, inputs, the oracle's answers and the generated folder."""
    model = side_by_side(
        [random_model(kind, (5, i)) for kind in MAKERS for i in range(DOSES.get(kind, 2))], "everything.tflite"
    )
    data, folder = write_model(model), tmp_path_factory.mktemp("everything")
    made = generate(data, model.name)
    write_files(made, folder)
    rows = made_up(made.model, 8, 1)
    return made.model, rows, oracles(data, made.model, rows), folder


def test_the_reference_in_numpy_agrees_with_the_oracle(everything: tuple[Model, Rows, Rows, Path]) -> None:
    model, rows, wanted, _ = everything
    for row, theirs in zip(rows, wanted, strict=True):
        ours = integers.run(model, row)
        at = 0
        for op in model.ops:
            for _ in op.outputs:
                apart = np.abs(ours[at].astype(np.float64) - theirs[at].astype(np.float64)).max()
                assert apart <= (1 if op.kind in integers.APPROXIMATE else 0), (op.index, op.kind, apart)
                at += 1


def test_the_host_gives_the_oracles_codes_under_sanitizers(
    everything: tuple[Model, Rows, Rows, Path], tmp_path: Path
) -> None:
    _, rows, wanted, folder = everything
    found = run_host(build_host(folder, tmp_path / "host", sanitize=True), report_of(folder), rows)
    assert num_different(found, wanted) == (0, 0)


@pytest.mark.parametrize(
    "name", ["cortex-m4", *(pytest.param(n, marks=pytest.mark.slow) for n in CORES if n != "cortex-m4")]
)
def test_the_core_gives_the_oracles_codes(
    everything: tuple[Model, Rows, Rows, Path], tmp_path: Path, name: str
) -> None:
    _, rows, wanted, folder = everything
    core = CORES[name]
    image = build_core(folder, core, tmp_path / "core.elf", flash_bytes=core.flash_bytes, ram_bytes=core.ram_bytes)
    found = emulate(image.path, core, report_of(folder), rows)
    assert num_different(found.outputs, wanted) == (0, 0)
    assert (
        0 < found.instructions_least <= found.instructions <= found.instructions_most and 0 < found.stack_bytes < 4096
    )


TWENTY_MILLION = """#include "target.h"
int main(void) {
  uint32_t turns = 10000000, at = 15;
  char text[17] = "               \\n";
  ticks_start();
  const uint64_t before = ticks_now();
  __asm__ volatile("1: subs %0, #1\\n bne 1b" : "+r"(turns) : : "cc");
  uint32_t ticks = (uint32_t)(ticks_now() - before);
  for (; ticks; ticks /= 10) text[--at] = (char)('0' + ticks % 10);
  host_print(text);
  return 0;
}
"""
"""A loop of two instructions, and what the counter says it took."""


@pytest.mark.parametrize("core", CORES.values(), ids=list(CORES))
def test_a_tick_is_so_many_instructions(core: Core, tmp_path: Path) -> None:
    write_files(generate(write_model(random_model("ADD", (1, 1))), "add.tflite"), tmp_path)
    main = tmp_path / "main.c"
    main.write_text(TWENTY_MILLION)
    image = build_core(tmp_path, core, tmp_path / "core.elf", flash_bytes=1 << 18, ram_bytes=1 << 18, main=[main])
    ticks = int(emulated_text(image.path, core, b"")[0])
    assert ticks * core.instructions_per_tick == pytest.approx(20_000_000, abs=2 * core.instructions_per_tick)


def test_channels_that_never_change_are_gone_and_codes_stay(tmp_path: Path) -> None:
    model = network(dead=(0, 1, 2, 4, 7, 9, 10, 11))
    data = write_model(model)
    made = generate(data, model.name)
    assert [t.size for t in made.model.tensors] == [t.size for t in parse(data, "x").tensors]
    whole = generate(write_model(network()), model.name)
    assert made.program.macs < 0.6 * whole.program.macs
    rows = made_up(model, 16, 3)
    write_files(made, tmp_path)
    wanted = oracles(data, model, rows)
    assert len({a.tobytes() for row in wanted for a in row}) > 4, "answers must differ for this to show anything"
    found = run_host(build_host(tmp_path, tmp_path / "host", sanitize=True), made.report, rows)
    assert num_different(found, wanted) == (0, 0)
    assert num_different([integers.run(model, row) for row in rows], wanted)[1] <= 16 * 5


def test_a_pad_is_joined_with_its_convolution() -> None:
    made = generate(write_model(network()), "network.tflite")
    assert not any(call.kernel in ("ps_fill_s8", "ps_copy_s8") for call in made.program.calls)


@pytest.mark.data
def test_the_oracle_is_not_litert(shared_data: Path) -> None:
    """LiteRT's default kernels round once: whoever takes them for an oracle measures another model."""
    from ai_edge_litert.interpreter import Interpreter

    path = shared_data / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
    model = parse(path.read_bytes(), path.name)
    rows = made_up(model, 6, 1)
    lite = Interpreter(model_path=str(path), num_threads=1)
    lite.allocate_tensors()
    found: Rows = []
    for (x,) in rows:
        lite.set_tensor(lite.get_input_details()[0]["index"], x)
        lite.invoke()
        found.append([lite.get_tensor(lite.get_output_details()[0]["index"]).copy()])
    assert num_different(found, oracles(path.read_bytes(), model, rows))[0] >= 1


@pytest.mark.data
def test_keyword_spotting_holds_its_figures(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "mlperf_tiny" / "kws_ref_model.tflite"
    made = generate(path.read_bytes(), path.name)
    write_files(made, tmp_path)
    rows = made_up(made.model, 2, 1)
    image = build_core(tmp_path, M4, tmp_path / "m4.elf", flash_bytes=M4.flash_bytes, ram_bytes=M4.ram_bytes)
    first, again = (emulate(image.path, M4, made.report, rows) for _ in range(2))
    assert num_different(first.outputs, oracles(path.read_bytes(), made.model, rows)) == (0, 0)
    assert (first.instructions, first.stack_bytes) == (again.instructions, again.stack_bytes)
    assert first.instructions <= 7_400_000
    assert image.code_bytes + image.weight_bytes <= 36_000
    assert image.static_ram_bytes <= 16_500


@pytest.mark.data
def test_half_of_the_wake_words_model_is_dead(shared_data: Path) -> None:
    from potstill.mcu.dead import without_dead_channels
    from potstill.mcu.lower import lower

    path = shared_data / "mlperf_tiny" / "vww_96_int8.tflite"
    model = parse(path.read_bytes(), path.name)
    assert lower(model).macs == 7_489_664
    assert lower(without_dead_channels(model)).macs == 3_733_073
