"""Verdicts: a line for each limit, what binds, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from potstill.core.errors import DeviceError
from potstill.devices import memory
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost
from potstill.devices.judge import Judgement, Question, device_verdict, judge, judge_all
from potstill.devices.latency import Latency
from potstill.devices.lines import Budget, Line, binding, budget_of
from potstill.devices.profile import LatencyOf

RESNET8 = Cost("resnet8", "int8", {"conv": 12_238_848, "pw": 262_144, "fc": 640}, layers=20, activation_elements=117_908, params=77_706,
               vector_params=346, weight_bytes=78_744, peak_activation_bytes=49_152)  # fmt: skip
BIG = Cost("big", "float32", {"conv": 10**8, "pw": 4 * 10**8, "dw": 2 * 10**7}, layers=120, activation_elements=8 * 10**6, params=4 * 10**6,
           vector_params=2 * 10**4, weight_bytes=16 * 10**6, peak_activation_bytes=6 * 10**6)  # fmt: skip


def entry_of(device: str, **said: str) -> LatencyOf:
    """Return the one runtime of a device that is so."""
    found = [e for e in profile_of(device).latency if all(getattr(e, k) == v for k, v in said.items())]
    assert len(found) == 1
    return found[0]


def judged(cost: Cost, device: str, budget: Budget, **said: str) -> Judgement:
    """Return the verdict under one runtime."""
    return judge(cost, Question(profile_of(device), budget), entry_of(device, **said))


def line(j: Judgement, name: str) -> Line:
    """Return a line of a verdict."""
    return next(entry for entry in j.lines if entry.name == name)


H747 = {"board": "stm32h747", "version": "9.1.0"}
HALE = {"runtime": "Bosch HALE", "version": "1.0", "dtype": "int8"}
NCNN = {"runtime": "ncnn", "dtype": "float", "threads": "4"}


def test_a_limit_inside_the_interval_is_unknown_and_outside_it_is_not() -> None:
    free = judged(RESNET8, "stm32h743", Budget(), **H747)
    time = line(free, "latency_ms")
    assert time.verdict is None and time.word == "modelled" and time.low and time.high
    for limit, verdict in (
        (time.low * 0.99, "does not fit"),
        (time.low * 1.001, "unknown"),
        (time.high * 1.01, "fits"),
    ):
        found = judged(RESNET8, "stm32h743", Budget(latency_ms=limit), **H747)
        assert line(found, "latency_ms").verdict == verdict == found.verdict


def test_the_line_with_the_least_margin_binds() -> None:
    found = judged(RESNET8, "stm32h743", Budget(latency_ms=1000, flash_bytes=300_000), **H747)
    binds = binding(found.lines)
    assert found.verdict == "fits" and binds is not None
    assert binds.name == "flash_bytes" and 0 < (binds.margin or 0) < 0.5
    over = judged(RESNET8, "stm32h743", Budget(latency_ms=10, flash_bytes=300_000), **H747)
    binds = binding(over.lines)
    assert binds is not None and binds.name == "latency_ms" and (binds.margin or 0) < 0


def test_published_latencies_are_predicted() -> None:
    """ResNet-8 took 180.6 ms on an L4R5 under Bosch HALE 1.0: its own row is in the fit, so this checks units, not accuracy."""
    found = judged(RESNET8, "stm32l4r5", Budget(), **HALE)
    assert found.latency.value_ms == pytest.approx(186, rel=0.05)
    assert found.latency.fitted is not None and len(found.latency.fitted.models) == 4


def test_ram_names_the_runtime_and_is_unknown_without_rows() -> None:
    known = line(judged(RESNET8, "stm32h743", Budget(), **H747), "peak_memory_bytes")
    assert known.word == "modelled" and known.low is not None and known.low < 49_152 * 1.5 < 2 * (known.high or 0)
    other = line(judged(RESNET8, "stm32l4r5", Budget(), **HALE), "peak_memory_bytes")
    assert other.word == "unknown" and other.verdict == "unknown" and "Bosch HALE 1.0" in other.reason
    assert memory.ram(replace(RESNET8, dtype="float32"), "X-CUBE-AI", "9.1.0").low is None


def test_ram_that_no_runtime_could_spare_does_not_fit() -> None:
    assert 3 < memory.most_saved() < 5
    for live, verdict in ((640 * 1024 * 3, "unknown"), (640 * 1024 * 5, "does not fit")):
        found = judged(replace(RESNET8, peak_activation_bytes=live), "stm32l4r5", Budget(), **HALE)
        assert line(found, "peak_memory_bytes").verdict == verdict


def test_weights_larger_than_the_flash_do_not_fit() -> None:
    found = judge_all(replace(RESNET8, weight_bytes=3_000_000), Question(profile_of("stm32l4r5"), Budget()))
    assert device_verdict(found) == "does not fit" and line(found[0], "flash_bytes").limit == 2 << 20


def test_where_boards_of_a_name_differ_the_larger_decides_that_it_does_not_fit() -> None:
    for size, verdict in ((1 << 20, "unknown"), (3 << 20, "unknown"), (17 << 20, "does not fit")):
        found = judge_all(replace(RESNET8, weight_bytes=size), Question(profile_of("rp2040"), Budget()))
        assert line(found[0], "flash_bytes").verdict == verdict


def test_on_a_system_only_what_is_small_or_too_large_is_said() -> None:
    whole = 512 << 20
    for size, verdict in ((whole // 20, "fits"), (whole // 2, "unknown"), (whole + 1, "does not fit")):
        found = judged(replace(BIG, peak_activation_bytes=size, weight_bytes=0), "rpi_zero2w", Budget(), **NCNN)
        assert line(found, "peak_memory_bytes").verdict == verdict
    asked = judged(BIG, "rpi_zero2w", Budget(peak_memory_bytes=30e6), **NCNN)
    assert (
        line(asked, "peak_memory_bytes").verdict == "unknown"
    )  # a least proves nothing against a limit that was given
    assert judged(BIG, "rpi_zero2w", Budget(peak_memory_bytes=20e6), **NCNN).verdict == "does not fit"


def test_energy_is_power_times_time_and_unknown_without_power() -> None:
    found = judged(RESNET8, "stm32l4r5", Budget(), **HALE)
    time, energy = found.latency, line(found, "energy_mj")
    assert (energy.low, energy.high) == pytest.approx((0.033 * (time.low_ms or 0), 0.078 * (time.high_ms or 0)))
    assert energy.word == "modelled"
    for device, said in (
        ("stm32f746", {"version": "1.0"}),
        ("rpi_zero2w", NCNN),
        ("orin_nano_8gb", {"runtime": "ncnn", "dtype": "int8", "threads": "6"}),
    ):
        unknown = line(
            judged(RESNET8 if device == "stm32f746" else BIG, device, Budget(energy_mj=1e9), **said), "energy_mj"
        )
        assert unknown.word == unknown.verdict == "unknown" and "power during inference is not known" in unknown.reason
    band = line(judged(BIG, "rpi5", Budget(), **NCNN), "energy_mj")
    time = judged(BIG, "rpi5", Budget(), **NCNN).latency
    assert (band.low, band.high) == pytest.approx(
        (2.8 * (time.low_ms or 0), 13.8 * (time.high_ms or 0))
    )  # from idle to full load


def test_a_float_model_on_a_microcontroller_is_told_of_integers() -> None:
    model = replace(RESNET8, dtype="float32", weight_bytes=4 * RESNET8.params, peak_activation_bytes=4 * 49_152)
    found = judge_all(model, Question(profile_of("stm32h743"), Budget(latency_ms=50)))
    assert found[0].verdict == "unknown" and found[0].latency.word == "unknown"
    assert any(r.startswith("as int8 under X-CUBE-AI 9.1.0") and ": fits" in r for r in found[0].remedies)


def test_the_macs_that_must_go_make_it_fit() -> None:
    profile, entry = profile_of("rpi4"), entry_of("rpi4", **NCNN)
    limit = 0.5 * (judge(BIG, Question(profile), entry).latency.value_ms or 0)
    found = judge_all(BIG, Question(profile, Budget(latency_ms=limit)))
    cut = next(r for j in found for r in j.remedies if "fewer MACs" in r)
    share = 1 - float(cut.split()[0]) / 100
    again = judge(BIG.with_macs(share - 0.01), Question(profile, Budget(latency_ms=limit)), found[0].entry)
    assert line(again, "latency_ms").verdict == "fits"
    assert (
        line(
            judge(BIG.with_macs(share + 0.03), Question(profile, Budget(latency_ms=limit)), found[0].entry),
            "latency_ms",
        ).verdict
        != "fits"
    )


def test_a_device_does_not_fit_where_no_runtime_of_known_latency_does() -> None:
    def made(verdict: Any, word: Any = "modelled") -> Judgement:
        bad = Line("latency_ms", verdict, word, 1.0, 1.0, 1.0, 1.0, "")
        return Judgement("d", entry_of("rpi4", **NCNN), BIG, Latency(word), (bad,))

    no, maybe, yes, unheard = made("does not fit"), made("unknown"), made("fits"), made("unknown", "unknown")
    cases = ([no, yes], [no, maybe], [no, no], [no, unheard], [unheard])
    assert [device_verdict(j) for j in cases] == ["fits", "unknown", "does not fit", "does not fit", "unknown"]


def test_a_device_without_rows_is_never_said_to_fit() -> None:
    for name in ("rp2350", "host"):
        found = judge_all(RESNET8, Question(profile_of(name), Budget(latency_ms=1e6)))
        assert [j.verdict for j in found] == ["unknown"] and found[0].latency.reason


def test_a_budget_has_the_fields_it_has() -> None:
    assert budget_of({"latency_ms": 3, "energy_mj": None}) == Budget(latency_ms=3)
    with pytest.raises(DeviceError, match="Nearest: 'latency_ms'"):
        budget_of({"latency": 3})
    with pytest.raises(DeviceError, match="must be above 0 and finite; got 0"):
        budget_of({"latency_ms": 0})
