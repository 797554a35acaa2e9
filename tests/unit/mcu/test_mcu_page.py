"""The page of generated C is that of its record, and what it is claimed to hold stands in the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "results" / "mcu.json").read_text())
    return found


def test_the_page_is_that_of_the_record(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _mcu_page

    assert (ROOT / "docs" / "results" / "mcu.md").read_text() == _mcu_page.page(record)


def test_no_model_takes_more_than_tensorflow_lite_micro(record: dict[str, Any]) -> None:
    assert len(record["models"]) == 11
    for ours in record["models"]:
        theirs = ours["tflm"]
        assert ours["instructions"] <= 1.005 * theirs["instructions"], ours["model"]
        assert ours["flash_bytes"] <= theirs["flash_bytes"], ours["model"]
        assert ours["ram_bytes"] + ours["stack_bytes"] <= theirs["ram_bytes"] + theirs["stack_bytes"], ours["model"]


def test_every_code_was_equal_on_every_core(record: dict[str, Any]) -> None:
    for row in record["models"]:
        others = [found["different"] for found in row["other_cores"].values() if found is not None]
        assert len(others) >= 2, row["model"]
        assert not any((row["different_here"], row["different_emulated"], row["tflm"]["different"], *others))
        assert row["macs"] <= 100_000 or abs(row["modelled_off"]) < 0.1
