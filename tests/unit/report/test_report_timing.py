"""Time by parts as the page and the card tell of it."""

from __future__ import annotations

from pathlib import Path

from _report_results import results
from _report_robust import timing

from potstill.report import _timing as told
from potstill.report._page import card, page


def with_timing(**changes: object) -> dict:
    found = results()
    found["artifacts"][0]["timing"] = timing() | changes
    return found


def test_nothing_is_said_where_it_was_not_asked_for(tmp_path: Path) -> None:
    assert told.section(results()["artifacts"][0]) is None
    assert "cold start" not in page(results(), tmp_path, samples=False) + card(results())


def test_parts_threads_cold_start_and_long_run(tmp_path: Path) -> None:
    found = told.section(with_timing()["artifacts"][0])
    assert found["head"] == ["min", "median", "p95", "teacher, median"]
    assert [name for name, _ in found["parts"]] == ["read", "preprocess", "infer", "postprocess", "end to end"]
    assert found["parts"][2][1] == ["8 µs", "10 µs", "17 µs", "20 µs"] and found["parts"][-1][1][1] == "40 µs"
    assert found["threads"][1] == ("2", ["16 µs", "20 µs", "34 µs", "30 µs", "1.50"])
    assert found["cold"].startswith(
        "240 ms, 230 ms to 260 ms in 5 fresh processes: runtime 220 ms, file 15 ms, first answer 5 ms"
    )
    assert "the first 10 s 40 µs, the last 10 s 50 µs, 1.250 [1.200, 1.300] of it: 25.0% slower" in found["long"]
    assert found["chart"].count("<polyline") == 1 and "second" in found["chart"] and "epoch" not in found["chart"]
    text = " ".join(found["sentences"])
    assert "takes 0.5 [0.45, 0.55] of the teacher's time" in text and "Energy: 0.75 mJ a sample" in text
    shown = page(with_timing(), tmp_path, samples=False)
    assert "from the row on disk to the answer" in shown and "by threads" in shown
    assert "40 µs from the row on disk to the answer, cold start 240 ms" in card(with_timing())


def test_what_is_not_known_or_not_there_is_not_told() -> None:
    alone = timing(teacher=False)
    alone["models"]["student"]["energy_mj"] = {"value": None, "source": "unknown"}
    found = told.section(with_timing(**alone | {"sustained": None})["artifacts"][0])
    assert found["head"] == ["min", "median", "p95"] and found["long"] == found["chart"] == ""
    assert "Energy" not in " ".join(found["sentences"]) and "by turns" not in " ".join(found["sentences"])


def test_a_run_within_the_noise_did_not_slow_down() -> None:
    steady = timing()["sustained"] | {"slower": {"value": 1.01, "low": 0.99, "high": 1.03}}
    assert told.section(with_timing(sustained=steady)["artifacts"][0])["long"].endswith("within the noise")
    short = steady | {"slower": {"value": 1.01, "low": None, "high": None}}
    assert "1.010 of it: too short to say" in told.section(with_timing(sustained=short)["artifacts"][0])["long"]
