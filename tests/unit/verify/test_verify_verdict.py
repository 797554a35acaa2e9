"""Verdicts: what was measured stands, intervals that straddle a limit settle nothing, and what is unknown never fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from potstill.core.samples import DataStats
from potstill.devices import say
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost
from potstill.devices.judge import Question
from potstill.devices.lines import Budget, Line, interval, line_of
from potstill.models.ds_cnn import DsCnnSpec
from potstill.testing import tiny
from potstill.verify.gain import drop
from potstill.verify.smaller import smaller_student
from potstill.verify.verdict import Subject, verdict_on

RESNET8 = Cost("resnet8", "int8", {"conv": 12_238_848, "pw": 262_144, "fc": 640}, layers=20, activation_elements=117_908, params=77_706,
               vector_params=346, weight_bytes=78_744, peak_activation_bytes=49_152)  # fmt: skip
MEASURED: dict[str, Any] = {
    "latency_ms": {"median": 2.0, "p95": 3.0, "calls": 100, "threads": 1},
    "memory": {"value": 1_000_000, "baseline": 50_000_000, "source": "measured"},
    "file_bytes": 80_000,
    "accuracy_drop": {"value": 1.0, "low": 0.4, "high": 1.6},
}


def subject(**changes: Any) -> Subject:
    made = Subject("student.tflite", "litert", RESNET8, "", ("TFLM", "X-CUBE-AI", "TFLite"), MEASURED)
    return replace(made, **changes)


def on(device: str, given: Subject | None = None, **limits: float) -> dict[str, Any]:
    return verdict_on(given or subject(), profile_of(device), Budget(**limits))


def line(found: dict[str, Any], name: str) -> Line:
    return next(line_of(entry) for entry in found["lines"] if entry["name"] == name)


@pytest.mark.parametrize(("limit", "verdict"), [(1.7, "fits"), (1.0, "unknown"), (0.3, "does not fit")])
def test_a_drop_fits_only_where_its_whole_interval_does(limit: float, verdict: str) -> None:
    found = on("host", accuracy_drop=limit)
    assert line(found, "accuracy_drop").verdict == verdict == found["verdict"]
    assert line(found, "accuracy_drop").word == "measured"


@pytest.mark.parametrize(("limit", "verdict"), [(3.0, "fits"), (2.5, "unknown"), (1.9, "does not fit")])
def test_this_machine_is_measured_from_the_median_to_the_95th_percentile(limit: float, verdict: str) -> None:
    found = on("host", latency_ms=limit)
    time = line(found, "latency_ms")
    assert time.verdict == verdict == found["verdict"] and (time.word, time.value) == ("measured", 2.0)


@pytest.mark.parametrize(("limit", "verdict"), [(51e6, "fits"), (20e6, "unknown"), (0.9e6, "does not fit")])
def test_memory_of_this_machine_lies_between_the_models_own_and_its_process(limit: float, verdict: str) -> None:
    assert line(on("host", peak_memory_bytes=limit), "peak_memory_bytes").verdict == verdict


def test_what_was_measured_here_says_nothing_of_another_device() -> None:
    found = on("stm32h743", latency_ms=100)
    assert line(found, "latency_ms").word == "modelled" and line(found, "latency_ms").value != 2.0
    assert line(found, "peak_memory_bytes").word == "modelled" and found["verdict"] == "fits"
    assert found["runtime"]["runtime"] == "X-CUBE-AI" and found["others"]
    assert {o["under"].split()[0] for o in found["others"]} <= {"X-CUBE-AI", "TFLM", "TFLM+CMSIS-NN"}
    on_a_system = on("rpi4", flash_bytes=90_000)
    assert (line(on_a_system, "flash_bytes").word, line(on_a_system, "flash_bytes").value) == ("measured", 80_000)


@pytest.mark.parametrize(
    "limits", [{}, {"latency_ms": 1e9}, {"latency_ms": 1e9, "accuracy_drop": 99, "flash_bytes": 1e9}]
)
def test_what_is_unknown_never_fits(limits: dict[str, float]) -> None:
    unread = subject(cost=None, rests_on="its graph cannot be read")
    for device in ("stm32h743", "rpi4", "rp2350"):
        found = on(device, unread, **limits)
        assert found["verdict"] == "unknown" and found["lines"], device
        assert "its graph cannot be read" in line(found, "latency_ms").reason
    if limits:
        assert on("rpi4", **limits)["verdict"] == "unknown", "too few models were published"
    assert on("host", subject(measured={}), **limits)["verdict"] == "unknown", "nothing was measured yet"


def test_a_runtime_that_takes_another_file_is_told_but_not_judged() -> None:
    big = replace(RESNET8, dtype="float32", macs_by_class={"conv": 5 * 10**8}, weight_bytes=4 * 77_706)
    found = on("rpi4", subject(cost=big, runs_in=("onnxruntime",)), latency_ms=1000)
    assert found["verdict"] == "unknown" and found["runtime"] is None
    assert "under ncnn" in found["elsewhere"] and "does not take this file" in found["elsewhere"]
    assert on("host", subject(cost=big))["elsewhere"] == ""


def test_the_message_names_what_stops_it_and_the_remedies_what_helps() -> None:
    found = verdict_on(
        subject(),
        profile_of("stm32h743"),
        Budget(latency_ms=10, accuracy_drop=0.3),
        lambda asked, cost: "a smaller one",
    )
    assert found["binding"] == "accuracy_drop" or found["binding"] == "latency_ms"
    said = " ".join(found["remedies"])
    assert "fewer MACs" in said and "a smaller one" in said and "a larger student" in said
    assert say.misfit(found).startswith("stm32h743: must fit its budget; got student.tflite, which does not: latency ")
    assert "drop from the teacher 1 [0.4, 1.6] points over 0.3 points" in say.misfit(found)


def test_a_smaller_student_is_named_where_one_fits() -> None:
    asked = Question(profile_of("stm32h743"), Budget(latency_ms=25), ("X-CUBE-AI",))
    spec = DsCnnSpec(width=32, depth=4)
    text = smaller_student(spec, tiny.IO, DataStats((0.5,), (0.25,)), asked, RESNET8)
    assert text is not None and text.startswith("a smaller ds-cnn (width: ") and "not known until it is trained" in text
    never = Question(profile_of("stm32h743"), Budget(latency_ms=1e-6), ("X-CUBE-AI",))
    assert smaller_student(spec, tiny.IO, DataStats((0.5,), (0.25,)), never, RESNET8) is None


def test_a_drop_is_paired_by_row() -> None:
    rng = np.random.default_rng(0)
    before = (rng.random(400) < 0.9).astype(float)
    after = before.copy()
    after[:8] = 0.0
    found = drop(before, after)
    lost = before - after
    half = 196 * lost.std(ddof=1) / 20
    assert found["value"] == pytest.approx(100 * lost.mean())
    assert (found["low"], found["high"]) == pytest.approx((found["value"] - half, found["value"] + half), rel=0.03)
    alike = drop(before, before)
    assert alike["value"] == 0 and 0 < alike["high"] == -alike["low"] < 1.1, (
        "unseen differences are bounded, not excluded"
    )


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (interval("latency_ms", 30, 34, 20, "fitted", value=32), "32 [30, 34] ms, modelled; at most 20 ms, 70 % over"),
        (interval("latency_ms", 30, 34, 5, "fitted", value=32), "32 [30, 34] ms, modelled; at most 5 ms, 6.8 times the limit"),
        (interval("latency_ms", 30, 34, 32, "fitted", value=32), "32 [30, 34] ms, modelled; at most 32 ms; the limit 32 ms lies within the interval"),
        (interval("accuracy_drop", -1, 1, 2, "", word="measured", value=0), "0 [-1, 1] points, measured; at most 2 points, 50 % to spare"),
    ],
)  # fmt: skip
def test_a_line_in_words(made: Line, text: str) -> None:
    assert say.against(made) == text


@pytest.mark.parametrize(("flash", "verdict"), [(9000, "fits"), (8000, "does not fit")])
def test_what_a_core_was_built_and_emulated_for_stands_for_the_modelled(flash: float, verdict: str) -> None:
    on_core = {
        "flash_bytes": {"value": 8328, "source": "measured"}, "ram_bytes": {"value": 948, "source": "emulated"},
        "latency_ms": {"low": 1.157, "high": 1.411, "source": "modelled"}, "instructions": {"value": 112_880}, "cycles": {"because": "why"},
    }  # fmt: skip
    given = subject(format="c", runs_in=("potstill C",), measured={"on_core": on_core, "accuracy_drop": "no teacher"})
    found = on("stm32l4r5", given, flash_bytes=flash, latency_ms=2)
    lines = {name: line(found, name) for name in ("flash_bytes", "peak_memory_bytes", "latency_ms")}
    assert [(lines[n].word, lines[n].value) for n in ("flash_bytes", "peak_memory_bytes")] == [("measured", 8328), ("emulated", 948)]  # fmt: skip
    assert (lines["latency_ms"].low, lines["latency_ms"].word) == (1.157, "modelled") and lines["peak_memory_bytes"].limit == 655_360  # fmt: skip
    assert lines["flash_bytes"].verdict == verdict == found["verdict"]
