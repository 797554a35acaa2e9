"""Verdicts before anything is trained: the untrained student, quantised and cut as the recipe says, costed once and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.core.samples import DataStats
from potstill.pipeline import fits
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.cuts import PlannedCut
from potstill.pipeline.graph import build
from potstill.pipeline.shape import DataShape
from potstill.recipe.load import load
from potstill.recipe.model import Recipe
from potstill.testing import tiny

ROOT = Path(__file__).resolve().parents[3]
DISTIL = {"kind": "distill", "objectives": [{"kind": "soft-label"}]}
BOARD = {"device": "stm32h743", "latency_ms": 1e4, "accuracy_drop": 1.0}


def recipe(*steps: Any, devices: Any = (BOARD,)) -> Recipe:
    return Recipe.model_validate({
        "name": "x", "data": {"kind": "digits"}, "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8}},
        "student": {"kind": "ds-cnn", "width": 8, "depth": 2}, "steps": [DISTIL, *steps], "devices": list(devices),
    })  # fmt: skip


def planned(
    found: Recipe, cache: ArtifactCache, cuts: Any = (), shape: DataShape | None = None
) -> list[dict[str, Any]]:
    known = shape or DataShape(tiny.IO, 100, 10, 10, None, DataStats((0.5,), (0.25,)))
    return fits.planned_verdicts(build(found, cache.digests, cache), cache, known, cuts)


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


def test_a_student_is_costed_as_it_will_be_and_only_once(cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    float_student, int8 = recipe(), recipe({"kind": "quantize"})
    (whole,), (rounded,) = planned(float_student, cache), planned(int8, cache)
    assert (whole["as"], rounded["as"]) == ("float32", "int8") and whole["cost"]["macs"] == rounded["cost"]["macs"] > 0
    assert rounded["cost"]["weight_bytes"] < whole["cost"]["weight_bytes"] / 2
    assert rounded["runtime"]["dtype"] == "int8" and rounded["rests_on"] == "the student untrained, as ONNX"
    assert "accuracy_drop" not in {line["name"] for line in rounded["lines"] if line["limit"] is not None}
    assert all(line["word"] in ("modelled", "unknown") for line in rounded["lines"])
    monkeypatch.setattr(fits, "_exported_cost", None)
    assert planned(int8, cache) == [rounded]
    monkeypatch.setattr(fits, "smaller_student", lambda *given: f"a smaller {given[0].kind}")
    (tight,) = planned(recipe({"kind": "quantize"}, devices=[{**BOARD, "flash_bytes": 1000}]), cache)
    assert tight["verdict"] != "fits" and "a smaller ds-cnn" in tight["remedies"]
    cut = PlannedCut(1, {"before": {"macs": 100, "params": 10}, "after": {"macs": 25, "params": 5}}, [])
    (less,) = planned(int8, cache, [cut])
    assert less["cost"]["macs"] == pytest.approx(rounded["cost"]["macs"] / 4, rel=0.02)
    assert less["cost"]["weight_bytes"] == pytest.approx(rounded["cost"]["weight_bytes"] / 2, rel=0.02)


def test_nothing_is_built_where_nobody_asks_or_knows_the_data(
    cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "_exported_cost", None)
    assert planned(recipe(devices=()), cache) == []
    (found,) = fits.planned_verdicts(build(recipe(), cache.digests, cache), cache, None, ())
    assert found["verdict"] == "unknown" and "once it is prepared" in found["lines"][0]["reason"]


def test_what_stands_before_the_student_is_not_taken_for_integers(
    shared_data: Path, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spectrogram before this student is not quantised and has more MACs than the student: what is computed in is float32."""
    from potstill.pipeline.graph import data_shape

    monkeypatch.setenv("POTSTILL_DATA", str(shared_data))
    found = load(ROOT / "recipes" / "spoken-digits-litert.yaml")
    shape = data_shape(build(found, cache.digests, cache), cache)
    board, host = planned(found, cache, shape=shape)
    assert board["as"] == "float32" and board["cost"]["macs"] > 3 * 10**6
    flash = next(line for line in board["lines"] if line["name"] == "flash_bytes")
    assert flash["limit"] == 600_000 and flash["verdict"] == "fits"
    assert host["device"] == "host" and host["verdict"] == "unknown"
