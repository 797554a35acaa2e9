"""What was measured on devices, in the page and the card; a device's name may be anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _report_results import HOSTILE, results

from potstill.report import _page as page_of
from potstill.report._measured import agreed, rows


def record(name: str, **changes: Any) -> dict[str, Any]:
    """Return what a run keeps of a device."""
    times = [
        {
            "threads": n,
            "batch": 1,
            "calls": 100,
            "min": 1.0,
            "median": 2.5 / n,
            "p95": 3.0,
            "cold": 9.0,
            "source": "measured",
        }
        for n in (1, 4)
    ]
    return {
        "device": {"name": name, "machine": "aarch64", "model": name, "cpu": name, "cores": 4, "memory_bytes": 4 * 10**9, "governor": name,
                   "clock_mhz": 1800.0, "system": name, "python": "3.11", "celsius_before": None, "celsius_after": None},
        "format": "onnx", "file": "student.onnx", "sha256": "ab" * 32, "bundle": "0" * 16, "runtime": {"name": name, "version": name, "numpy": "2"},
        "rows": 256, "started": "2026-03-01T12:00:00+00:00", "latency_ms": times, "outputs_sha256": "cd" * 32,
        "peak_memory_bytes": {"peak": 9_000_000, "baseline": 4_000_000, "value": 5_000_000, "source": "measured"},
        "parity": {"max_abs_diff": 1e-6, "tolerance": 1e-4, "top1_agreement": 1.0},
        "accuracy": {"value": 0.9, "low": 0.85, "high": 0.94, "unit": "share", "source": "measured"}, "accuracy_here": 0.9, **changes,
    }  # fmt: skip


def test_a_row_has_what_was_measured() -> None:
    (row,) = rows({"measured_on": [record("Raspberry Pi 4")]})
    assert row["device"] == "Raspberry Pi 4" and "4 cores of" in row["facts"] and "4 GB" in row["facts"]
    assert row["latency"] == "2.5 ms, 1 thread (p95 3 ms); 625 µs, 4 threads (p95 3 ms)" and row["memory"] == "5 MB"
    assert row["agrees"] == "top-1 as here on 100 % of 256 rows, largest difference 1e-06"
    assert rows({}) == [] and rows({"measured_on": [record("x", peak_memory_bytes=None)]})[0]["memory"] == "unknown"


def test_codes_are_said_as_codes() -> None:
    codes = record("x", parity={"max_abs_diff": 0.5, "codes_equal": 0.995, "codes_max": 1.0, "top1_agreement": None})
    assert agreed(codes) == "99.5 % of the codes equal, the others off by at most 1.0"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_measured_name_is_text(name: str, tmp_path: Path) -> None:
    found = results() | {"measured_on": [record(name)]}
    page = page_of.page(found, tmp_path, samples=False)
    assert (
        "Measured on devices" in page
        and "<script>alert" not in page
        and "<img src=x" not in page
        and "<b>&amp;" not in page
    )
    card = page_of.card(found)
    assert "## Measured on devices" in card and "<script" not in card.replace("\\<", "") and "\n\n\n" not in card
    table = [
        line for line in card.splitlines() if line.startswith("| ") and "2026-03-01" in line and "student.onnx" in line
    ]
    assert len(table) == 1 and table[0].replace("\\|", "").count("|") == 7, "one row of six cells"
