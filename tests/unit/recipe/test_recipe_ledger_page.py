"""The ledger's page keeps pictures apart from other tasks, and says where auto misses its goals."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

GROUPS = 6


@pytest.fixture(scope="module")
def bench() -> Any:
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        import _gain_more_table
        import _gain_stats
        import _gain_table
        import gain
    finally:
        sys.path.remove(str(folder))
    return SimpleNamespace(gain=gain, more=_gain_more_table, stats=_gain_stats, table=_gain_table)


def ledger(points: dict[str, float]) -> list[dict[str, Any]]:
    """Return lines of beats in which arms differ from the control by these points, in every seed and a little by patient."""
    shares = np.linspace(0.8, 0.95, GROUPS)
    out: list[dict[str, Any]] = [{"type": "machine", "id": "m", "environment": {"cpu": "x", "cores": 2, "system": "y"}},
                                 {"type": "teacher", "id": "t", "task": "ecg", "accuracy": 0.9}]  # fmt: skip
    for seed in range(3):
        for arm, more in {"hard-label": 0.0, **points}.items():
            values = (
                shares + 1e-3 * seed + more / 100 + (1e-3 * np.arange(GROUPS) if more else 0) - (2.5e-3 if more else 0)
            )
            auto = {"winner": "T=1", "chosen": "student", "decided_by": "nll", "extra_steps": 1, "validation_rows": 40}
            out.append({
                "type": "training", "id": f"{arm}{seed}", "cell": "ecg all 0", "task": "ecg", "share": "all", "params": 9, "epochs": 5,
                "arm": arm, "seed": seed, "rows": 60, "accuracy": float(values.mean()), "groups": list(values), "teacher": "t",
                "machine": "m", "commit": "c", "date": "2026-01-01", "seconds": 1.0, "steps": 5, **(auto if arm == "auto" else {}),
            })  # fmt: skip
    return out


def test_answers_are_rows_as_packed_or_groups_as_they_are(bench: Any) -> None:
    hits = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1, 1])
    assert (bench.gain.answers({"correct": bench.gain.pack(hits), "rows": len(hits)}) == hits).all()
    assert (bench.gain.answers({"groups": [0.25, 1.5], "rows": 900}) == [0.25, 1.5]).all()


def test_an_interval_over_groups_is_that_of_verify(bench: Any) -> None:
    from potstill.verify.gain import gain

    lines = ledger({"T=1": 1.0})
    cell = bench.stats.cells(lines)["ecg all 0"]
    found = cell.contrast("T=1")
    expected = gain(cell.correct("T=1", [0, 1, 2]), cell.correct("hard-label", [0, 1, 2]))
    assert cell.correct("T=1", [0, 1, 2]).shape == (3, GROUPS)
    assert (found.points, found.low, found.high) == (expected.points, expected.low, expected.high)
    assert found.points == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("auto", "fixed", "over_control", "over_best"),
    [(1.0, 1.1, "met", "met"), (0.5, 1.5, "met", "missed"), (-0.5, -1.0, "missed", "missed")],
)
def test_the_page_says_which_goal_auto_meets(
    bench: Any, auto: float, fixed: float, over_control: str, over_best: str
) -> None:
    lines = ledger({"T=1": fixed, "auto": auto})
    page, contrasts = bench.more.more_section(lines, bench.stats.cells(lines))
    goals = [line for part in page for line in part.split("\n") if line.startswith("- Goal:")]
    assert goals[0].endswith(f"**{over_control}**.")
    assert goals[1].endswith(f"**{over_best}**.")
    assert {c.arm: round(c.points, 6) for c in contrasts} == {"T=1": fixed, "auto": auto}


def test_trainings_beyond_images_count_nowhere_among_the_images(bench: Any) -> None:
    entries = bench.gain.read(bench.gain.LEDGER)
    before = bench.table.of_images([e for e in entries if e["type"] == "machine" or e["task"] != "ecg"])
    assert bench.table.of_images(entries + ledger({"auto": 1.0})) == bench.table.of_images(entries)
    assert before == bench.table.of_images(entries)
    assert not bench.more.more_section(before, bench.stats.cells(before))[0]
