"""Latency from published rows: the fit, its errors on models held out, and when nothing is said."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from potstill.devices import latency
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost
from potstill.devices.forms import COUNTS, FORMS
from potstill.devices.latency import Fitted, fit, fitted, predict
from potstill.devices.profile import LatencyOf
from potstill.devices.rows import Row, rows

SUMMARY_FORMS = {"A": "macs", "B": "overhead+macs", "D": "dense+depthwise", "L": "layers+macs", "CP": "by-class", "T2": "edge-tpu",
                 "E": "weighted-macs"}  # fmt: skip
DTYPES = {"fp": "float", "fp32": "float32", "fp16": "float16", "int8": "int8"}


def row(model: str, ms: float, **counts: float) -> Row:
    """Return a row of a board that is not."""
    return Row(
        model, "board", "runtime", "1", "1", "int8", model, {n: counts.get(n) for n in COUNTS}, ms, None, "nobody"
    )


def cost(**macs: int) -> Cost:
    """Return a model of so many MACs by class."""
    return Cost("m", "int8", macs, layers=20, activation_elements=10**5, params=10**5, vector_params=100, weight_bytes=10**5,
                peak_activation_bytes=10**4)  # fmt: skip


def made_rows(noise: float = 0.0) -> list[Row]:
    """Return ten models that take 2 ms and 0.5 ms for each million MACs."""
    draws = np.random.default_rng(0).normal(0, noise, 10)
    return [row(f"m{i}", (2 + 0.5 * 10 * 2**i) * (1 + draws[i]), macs=1e7 * 2**i) for i in range(10)]


def test_a_form_is_found_again_in_rows_that_follow_it() -> None:
    found = fit(made_rows(), FORMS["overhead+macs"])
    assert found.coefficients == pytest.approx((2.0, 0.5))
    assert found.mean == pytest.approx(0, abs=1e-9) and found.factor == pytest.approx(1)
    assert found.value({"macs": 3e7}) == pytest.approx(17)


def test_errors_are_of_models_that_were_held_out_with_all_their_rows() -> None:
    odd = [row("odd", 20.0, macs=1e6), row("odd", 20.0, macs=1e6)]
    plain = [row(f"m{i}", 1.0 * i, macs=1e6 * i) for i in (1, 2, 4)]
    found = fit(plain + odd, FORMS["macs"])
    assert dict(found.errors)["odd"] == pytest.approx(1 / 20)  # as if the odd model had never been seen
    assert found.factor == pytest.approx(20)
    assert len(found.models) == 4 and len(found.errors) == 5


def test_no_coefficient_is_negative() -> None:
    found = fit([row(f"m{i}", i - 0.9, macs=1e6 * i) for i in range(1, 8)], FORMS["overhead+macs"])
    assert found.coefficients[0] == 0 and found.coefficients[1] > 0


def test_the_interval_holds_what_was_held_out() -> None:
    found = fit(made_rows(noise=0.1), FORMS["overhead+macs"])
    inside = [1 / found.factor <= ratio <= found.factor for _, ratio in found.errors]
    assert sum(inside) >= 9
    few = fit(made_rows(noise=0.1)[:5], FORMS["overhead+macs"])
    assert all(1 / few.factor <= ratio * (1 + 1e-9) and ratio <= few.factor * (1 + 1e-9) for _, ratio in few.errors)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> LatencyOf:
    """A runtime of ten made-up rows, which `groups` gives."""
    there = tuple(made_rows(noise=0.05))
    monkeypatch.setattr(latency, "groups", lambda _: {there[0].group: there})
    fitted.cache_clear()
    return LatencyOf(board="board", runtime="runtime", version="1", dtype="int8", threads="1", form="overhead+macs")


def test_few_models_are_unknown_with_the_number_that_is_needed(
    entry: LatencyOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num, known in ((4, False), (5, True)):
        there = tuple(made_rows(noise=0.01)[:num])
        monkeypatch.setattr(latency, "groups", lambda _, there=there: {there[0].group: there})
        fitted.cache_clear()
        found = predict(entry, cost(conv=5 * 10**7))
        assert (found.word == "modelled") is known
        assert known or (found.value_ms is None and "4 published models, 5 are needed" in found.reason)


def test_a_fit_that_predicts_nothing_is_unknown(entry: LatencyOf, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tuple(row(f"m{i}", ms, macs=1e7) for i, ms in enumerate([1, 40, 2, 90, 3, 70]))
    monkeypatch.setattr(latency, "groups", lambda _: {there[0].group: there})
    fitted.cache_clear()
    found = fitted(entry)
    assert isinstance(found, str) and "in the mean, over 50 %" in found


def test_a_model_unlike_all_rows_is_unknown(entry: LatencyOf) -> None:
    near = predict(entry, cost(conv=6 * 10**6))
    assert (
        near.word == "modelled" and near.value_ms is not None and near.low_ms is not None and near.high_ms is not None
    )
    assert near.low_ms < near.value_ms < near.high_ms
    for other in (cost(conv=4 * 10**6), cost(conv=11 * 10**9), cost(conv=10**7, attention=10**6), cost()):
        found = predict(entry, other)
        assert found.word == "unknown" and found.value_ms is None and found.reason
    assert "attention" in predict(entry, cost(conv=10**7, recurrent=10**6)).reason


def test_a_smaller_model_is_bounded_only_by_one_that_has_more_of_everything(
    monkeypatch: pytest.MonkeyPatch, entry: LatencyOf
) -> None:
    more = {"conv": 1e7, "pw": 1e6, "dw": 1e6, "fc": 1e6, "layers": 50, "activations": 1e6, "params": 1e6}
    there = tuple(row(f"m{i}", 2 + i, **{**more, "macs": 1.3e7 * (1 + i)}) for i in range(6))
    monkeypatch.setattr(latency, "groups", lambda _: {there[0].group: there})
    fitted.cache_clear()
    assert predict(entry, cost(conv=10**6)).at_most_ms == 2
    assert predict(entry, cost(conv=10**6, dw=2 * 10**6)).at_most_ms is None
    assert predict(entry, cost(conv=10**6, attention=10)).at_most_ms is None


def test_rows_that_are_no_calibration_are_left_out() -> None:
    found = fitted(next(e for e in profile_of("stm32l4r5").latency if e.version == "v10.2"))
    assert isinstance(found, Fitted) and len(found.rows) == 3
    assert not [r for r in rows() if r.skip == "" and not r.counts["macs"]]
    assert sum(r.skip == "dead channels folded" for r in rows()) == 17


def test_what_must_be_unknown_is() -> None:
    for name in ("rp2350", "rp2040", "ethos_u55", "esp32s3", "nano33ble", "host"):
        assert all(isinstance(fitted(e), str) for e in profile_of(name).latency), name
    npu = [e for e in profile_of("phone_flagship").latency if e.board == "sd8gen3"]
    assert npu and all(isinstance(fitted(e), str) for e in npu)


def test_no_form_reads_tops() -> None:
    assert not any("tops" in " ".join(term.weights) for form in FORMS.values() for term in form.terms)


def test_there_are_the_rows_that_were_published(shared_data: Path) -> None:
    with (shared_data.parent / "devices" / "calibration.csv").open(newline="") as file:
        raw = {r["row_id"]: r for r in csv.DictReader(file)}
    assert len(rows()) == len(raw) == 1171
    for found in rows():
        told = raw[found.id]
        assert (found.board, found.source) == (told["device_id"], told["source"])
        assert found.latency_ms == float(told["latency_ms"])
        assert found.counts["macs"] == (float(told["macs"]) if told["macs"] else None)


def test_errors_are_those_that_were_summarised(shared_data: Path) -> None:
    """Against fit_summary.csv, an independent fit of the same rows: mean and p90 to 0.1 points, coefficients to 3 digits. `by-class`
    counts activations by our own rules: its errors to 2 points in the mean."""
    folder = shared_data.parent / "devices"
    with (folder / "calibration.csv").open(newline="") as file:
        raw = {r["row_id"]: r for r in csv.DictReader(file)}
    with (folder / "fit_summary.csv").open(newline="") as file:
        summary = list(csv.DictReader(file))
    checked = 0
    for told in summary:
        form = FORMS.get(SUMMARY_FORMS.get(told["form"].split()[0], ""))
        wanted = [r for r in rows() if _of(raw[r.id], told, r)]
        if form is None or any(r.skip == "dead channels folded" for r in wanted):
            continue  # their summary kept these rows, with MACs of live channels
        used = [r for r in wanted if not r.skip]
        if len(used) != int(told["rows"]):
            assert told["device"] == "coral_devboard", told  # their summary joins two versions of TFLite
            continue
        found = fit(used, form)
        loose = form.name == "by-class"
        assert 100 * found.mean == pytest.approx(float(told["loo_mean_pct"]), abs=2.2 if loose else 0.1), told
        if not loose and told["loo_p90_pct"]:
            assert 100 * found.p90 == pytest.approx(float(told["loo_p90_pct"]), abs=0.1), told
        if not loose and told["coef"]:
            assert found.coefficients == pytest.approx(tuple(map(float, told["coef"].split())), rel=1e-3, abs=1e-6), (
                told
            )
        checked += 1
    assert checked > 150


def _of(raw: dict[str, str], told: dict[str, str], found: Row) -> bool:
    return (
        raw["device_id"] == told["device"] and raw["runtime"] == told["runtime"] and found.dtype == DTYPES[told["dtype"]]
        and (told["threads"] in ("?", raw["threads"])) and told["version"] in ("", raw["runtime_version"])
    )  # fmt: skip


def test_a_factor_of_a_prediction_of_nothing_is_without_end() -> None:
    found = Fitted(FORMS["macs"], (0.0,), (), (("a", 0.0), ("b", 1.0)))
    assert math.isinf(found.factor)
