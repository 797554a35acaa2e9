"""The page of families and formats lists every family of the zoo and every format that is registered: it cannot grow stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bench() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import exports
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return exports


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "results" / "exports.json").read_text())
    return found


def test_every_family_was_tried_in_every_format(bench: Any, record: dict[str, Any]) -> None:
    asked = {(kind, bench.name_of(column)) for kind in bench.families() for column in bench.columns()}
    told = {(kind, name) for kind, cells in record["cells"].items() for name in cells}
    assert asked == told, "run: python benchmarks/exports.py run"


def test_the_page_is_that_of_the_record(bench: Any, record: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "results" / "exports.md").read_text() == bench.page(record)


def test_every_family_goes_into_onnx_and_litert_or_says_why(record: dict[str, Any]) -> None:
    for kind, cells in record["cells"].items():
        for name in ("onnx float32", "litert float32"):
            assert cells[name]["passes"] or len(cells[name]["reason"]) > 20, (kind, name)


def test_a_reason_names_files_without_their_folders(bench: Any) -> None:
    said = bench.reason(ValueError("/a/b-c/student.tflite: must be\n  and/or not"))
    assert said == "student.tflite: must be and/or not"
