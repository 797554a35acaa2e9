"""Generated C as one more runtime of a microcontroller whose core is a Cortex-M4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from potstill.core.errors import DeviceError
from potstill.devices.catalogue import names, profile_of
from potstill.devices.cost import Cost, cost_from
from potstill.devices.judge import Judgement, Question, judge_all
from potstill.devices.lines import Budget
from potstill.devices.read import read_cost
from potstill.mcu.estimate import Estimate
from potstill.mcu.write import write_model
from potstill.testing.one_operator import random_model

C = ("potstill C",)


@pytest.fixture
def cost(tmp_path: Path) -> Cost:
    (tmp_path / "conv.tflite").write_bytes(write_model(random_model("CONV_2D", (4, 1))))
    return read_cost(tmp_path / "conv.tflite")


def in_c(cost: Cost, device: str = "stm32l4r5", **limits: float) -> Judgement:
    return judge_all(cost, Question(profile_of(device), Budget(**limits), C))[0]


def test_a_cortex_m4_has_it_and_no_other_core() -> None:
    there = {n for n in names() if any(r.runtime == "potstill C" for r in profile_of(n).runtimes)}
    assert there == {"nano33ble", "stm32l4r5"}
    assert [profile_of(n).core for n in ("stm32h743", "rp2040", "esp32s3", "coral_devboard")] == ["cortex-m7", "cortex-m0", "", ""]  # fmt: skip


def test_latency_is_instructions_times_cycles_over_the_clock(cost: Cost) -> None:
    made, found = cost.generated, in_c(cost)
    assert isinstance(made, Estimate) and not made.dense
    time = found.line("latency_ms")
    assert time is not None and time.word == "modelled" and "at 120 MHz" in time.reason and "no board was timed" in time.reason  # fmt: skip
    assert time.low == pytest.approx(made.instructions * 0.96 * 1.23 / 120e3)
    assert time.high == pytest.approx(made.instructions * 1.04 * 1.5 / 120e3)
    slower = in_c(cost, "nano33ble").line("latency_ms")
    assert slower is not None and slower.low == pytest.approx((time.low or 0) * 120 / 64)


def test_flash_and_ram_are_bounds(cost: Cost) -> None:
    made, found = cost.generated, in_c(cost)
    assert isinstance(made, Estimate)
    ram, flash = found.line("peak_memory_bytes"), found.line("flash_bytes")
    assert ram is not None and (ram.low, ram.high) == (made.arena_bytes, made.arena_bytes + 4096)
    assert flash is not None and (flash.low, flash.high) == made.flash_bytes and found.verdict == "fits"
    for limit, verdict in ((made.arena_bytes - 1, "does not fit"), (made.arena_bytes + 1, "unknown")):
        assert in_c(cost, peak_memory_bytes=limit).verdict == verdict


def test_what_cannot_become_c_is_unknown_with_the_reason(cost: Cost) -> None:
    refused = in_c(replace(cost, generated="conv.tflite operator 3 (GELU, layer 'x'): must be one of ..."))
    assert refused.verdict == "unknown"
    for name in ("latency_ms", "peak_memory_bytes", "flash_bytes"):
        line = refused.line(name)
        assert line is not None and line.word == "unknown" and "operator 3 (GELU" in line.reason
    made = cost.generated
    assert isinstance(made, Estimate)
    wide = in_c(replace(cost, generated=replace(made, unfitted=("ps_conv_s8_wide",))))
    time = wide.line("latency_ms")
    assert time is not None and time.word == "unknown" and "ps_conv_s8_wide" in time.reason
    assert wide.line("flash_bytes").word == "modelled"  # type: ignore[union-attr]


def test_a_file_of_floats_is_not_judged_as_c(cost: Cost) -> None:
    assert in_c(replace(cost, dtype="float32")).entry is None
    assert "C is generated from a .tflite file of int8" in in_c(replace(cost, generated=Cost.generated)).line("latency_ms").reason  # type: ignore[union-attr]  # fmt: skip


def test_fewer_products_would_make_it_fit(cost: Cost) -> None:
    time = in_c(cost).line("latency_ms")
    assert time is not None and time.high is not None
    (remedy,) = in_c(cost, latency_ms=0.8 * time.high).remedies
    assert "fewer MACs" in remedy
    assert in_c(cost, latency_ms=1e-6).remedies[0].startswith("no cut of MACs alone")


def test_a_cost_is_kept_as_json(cost: Cost) -> None:
    assert cost_from(cost.as_dict()) == cost
    plain = replace(cost, generated="why")
    assert cost_from(plain.as_dict()) == plain


def test_generated_c_is_read_by_the_file_beside_it(cost: Cost, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"model\.tflite: must be a model file that can be read"):
        read_cost(tmp_path / "model.c")
    (tmp_path / "model.tflite").write_bytes((tmp_path / "conv.tflite").read_bytes())
    found = read_cost(tmp_path / "model.c")
    assert found == replace(cost, name="model.c", generated=found.generated) and found.generated == cost.generated
