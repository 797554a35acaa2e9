"""A comparison in words, in a table, and as a page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from potstill.report._scatter import Spot, frontier, scatter
from potstill.report.compared import build, comparison_table, sentences


def arm(name: str, accuracy: float, size: int, ratio: float, **more: Any) -> dict[str, Any]:
    gain = {"points": 100 * (accuracy - 0.8), "low": 100 * (accuracy - 0.82), "high": 100 * (accuracy - 0.78),
            "verdict": "gain" if accuracy > 0.82 else "unresolved"}  # fmt: skip
    return {
        "name": name, "says": f"what {name} is", "model": "ds-cnn", "steps": ["distill"], "params": size // 4, "macs": 10 * size,
        "weight_bytes": size, "file_bytes": size + 2000, "per_seed": [accuracy], "over": [],
        "accuracy": {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "unit": "share"},
        "gain": None if name == "control" else gain, "peak_memory_bytes": {"value": 900_000, "baseline": 1, "source": "measured"},
        "latency_ms": {"median": 0.1 * ratio}, "latency_ratio": {"value": ratio, "low": ratio - 0.01, "high": ratio + 0.01},
        **more,
    }  # fmt: skip


def results(**edits: Any) -> dict[str, Any]:
    arms = [arm("control", 0.8, 4000, 0.3), arm("distill", 0.85, 4000, 0.31), arm("prune", 0.81, 3900, 0.25),
            arm("quantize", 0.95, 9000, 0.9, over=["weight_bytes"])]  # fmt: skip
    against = {n: {"points": p, "low": p - 2, "high": p + 2, "verdict": v} for n, p, v in
               (("control", 5.0, "gain"), ("prune", 1.0, "unresolved"))}  # fmt: skip
    teacher = {"name": "resnet", "accuracy": {"value": 0.97, "low": 0.96, "high": 0.98, "unit": "share"}, "params": 80_000,
               "macs": 800_000, "file_bytes": 320_000, "runtime": "onnx", "latency_ms": {"median": 0.1}}  # fmt: skip
    return {
        "schema": 1, "name": "a <b>name</b>", "description": None, "potstill": "0", "created": "2026-11-24T20:47:00+00:00",
        "recipe": "name: <x>", "task": "image-classification", "metric": "accuracy", "seeds": [0, 1], "test_rows": 600,
        "budget": {"weight_bytes": 4000, "macs": None}, "format": "onnx", "threads": 1, "teacher": teacher, "arms": arms,
        "best": {"name": "distill", "against": against},
        "environment": {"cpu": "a processor", "cores": 2, "memory_bytes": 1 << 30, "system": "Linux"}, **edits,
    }  # fmt: skip


def test_the_winner_and_whom_the_interval_does_not_settle() -> None:
    said = " ".join(sentences(results()))
    assert "Most accurate within the budget (at most 4 kB of weights): distill, accuracy 85.0 %" in said
    assert "do not support it against prune (+1.0 [-1.0, +3.0]). They support it against control." in said
    assert "Gain over the control, in points: distill +5.0 [+3.0, +7.0], quantize" in said
    assert "Smallest file: prune, 5.9 kB. Fastest: prune, 0.25 [0.24, 0.26] of the teacher's time." in said
    assert "Over the budget, and no winner: quantize, by its bytes of weights." in said


def test_a_latency_is_a_budget_too() -> None:
    slow = {"median": 0.6, "interval": {"value": 0.6, "low": 0.58, "high": 0.62}}
    arms = [arm("control", 0.8, 4000, 0.3), arm("prune", 0.9, 3900, 0.7, over=["latency_ms"], latency_ms=slow)]
    said = sentences(results(budget={"weight_bytes": None, "macs": None, "latency_ms": 0.5}, arms=arms, best=None))
    assert said[0] == "No arm keeps to the budget, at most 500 µs a sample."
    assert said[-1] == "Over the budget, and no winner: prune, by its latency, 0.6 [0.58, 0.62] ms."


def test_the_page_says_what_was_chosen_by_its_latency(tmp_path: Path) -> None:
    took = {"value": 0.4, "low": 0.39, "high": 0.41}
    sizes = {"ds-cnn": {"chosen": {"numbers": {"width": 12}, "latency_ms": took}}, "resnet-cut": {"chosen": {"ratio": 0.25, "latency_ms": took}}}  # fmt: skip
    found = results(budget={"weight_bytes": None, "macs": None, "latency_ms": 0.5}, sizes=sizes)
    (tmp_path / "compare.json").write_text(json.dumps(found))
    page = build(tmp_path).read_text()
    assert (
        "ds-cnn: width 12; untrained 0.4 [0.39, 0.41] ms" in page
        and "resnet-cut: pruning ratio 0.250; untrained" in page
    )
    assert "the upper end of the interval counting" in page and "kernels and matrices as they are stored" not in page


def test_nobody_within_the_budget() -> None:
    arms = [arm("control", 0.8, 4000, 0.3, over=["weight_bytes"])]
    assert sentences(results(best=None, arms=arms))[0] == "No arm keeps to the budget, at most 4 kB of weights."


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_its_terminal(width: int) -> None:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(comparison_table(results(), width))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("memory" in text) == (width == 140)
    assert "over the budget" in text or width == 60


def test_the_page_escapes_and_names_every_arm(tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text(json.dumps(results()))
    page = build(tmp_path).read_text()
    assert "a &lt;b&gt;name&lt;/b&gt;" in page and "<b>name" not in page and "name: &lt;x&gt;" in page
    for name in ("control", "distill", "prune", "quantize"):
        assert f'<th scope="row">{name}</th>' in page
    assert page.count("<svg viewBox") == 2 and "over the budget" in page
    assert build(tmp_path).read_text() == page


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    spots = [Spot(n, x, y, y, y, "red") for n, x, y in (("a", 1, 0.5), ("b", 2, 0.4), ("c", 3, 0.7), ("d", 3, 0.6), ("e", 9, 0.7))]  # fmt: skip
    assert [s.name for s in frontier(spots)] == ["a", "c"]


def test_a_scatter_is_well_formed_and_shows_who_is_over() -> None:
    spots = [Spot("a<", 1e3, 0.5, 0.4, 0.6, "red"), Spot("b", 1e5, 0.9, 0.8, 1.0, "blue", over=True)]
    chart = scatter("size", spots, "file", str, percent=True)
    root = ET.fromstring(f"<div>{chart}</div>")
    circles = list(root.iter("circle"))
    assert [c.get("fill") for c in circles] == ["red", "none"]
    assert float(circles[0].get("cx") or 0) < float(circles[1].get("cx") or 0)
    assert scatter("size", [], "file", str, percent=True) == ""
