"""What pruning took away, as the page tells it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from _report_results import HOSTILE, results

from potstill.report import _cuts as told
from potstill.report._page import page

SIZES = (
    {"params": 1000, "macs": 5000, "bytes": 4400},
    {"params": 1000, "macs": 5000, "bytes": 4400},
    {"params": 250, "macs": 2000, "bytes": 1500},
)
STEP: dict[str, Any] = {
    "step": 1, "start": "teacher", "importance": "taylor", "recalibrated": {"layers": 2, "rows": 512},
    "plan": {
        "ratio": 0.4375, "layers": [{"layer": "conv", "before": 1600, "after": 800}, {"layer": "head", "before": 10, "after": 10}],
        "whole": {"head": "its channels are the model's output"}, "first": SIZES[0], "before": SIZES[1], "after": SIZES[2],
    },
}  # fmt: skip


def with_steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return results() | {"pruning": list(steps)}


def test_nothing_is_said_where_nothing_was_cut(tmp_path: Path) -> None:
    assert told.cuts(results()) == [] and "Pruning" not in page(results(), tmp_path, samples=False)


def test_a_cut_is_told_with_its_layers_sizes_and_what_stayed() -> None:
    (cut,) = told.cuts(with_steps(STEP))
    assert cut["text"].startswith("Step 1 cut the teacher, as the student's beginning, by importance taylor at a pruning ratio of 0.438: "
                                  "75.0% of the parameters went. Channels")  # fmt: skip
    assert cut["text"].endswith("The statistics of 2 BatchNorm layers were taken again, of 512 training rows.")
    assert [row[3] for row in cut["sizes"]] == ["−75.0%", "−60.0%", "−65.9%"]
    assert cut["layers"] == [("conv", "1,600", "800", True), ("head", "10", "10", False)]
    assert cut["whole"] == [("head", "its channels are the model's output")]


def test_a_later_cut_counts_from_the_first_model() -> None:
    second = copy.deepcopy(STEP) | {"step": 3, "start": "student"}
    second["plan"]["before"] = {"params": 500, "macs": 3000, "bytes": 2500}
    second["recalibrated"]["layers"] = 0
    text = told.cuts(with_steps(STEP, second))[1]["text"]
    assert "Step 3 cut the student by" in text and "75.0% of the parameters went, counted from the model" in text
    assert "BatchNorm" not in text and told.cuts(with_steps(second))[0]["sizes"][0][3] == "−50.0%"


def test_the_page_shows_every_cut_and_no_name_becomes_code(tmp_path: Path) -> None:
    named = copy.deepcopy(STEP)
    named["plan"]["layers"] = [{"layer": name, "before": 8, "after": 4} for name in HOSTILE]
    named["plan"]["whole"] = {name: name for name in HOSTILE}
    html = page(with_steps(STEP, named), tmp_path, samples=False)
    assert html.count("<h2>Pruning</h2>") == 1 and html.count("<h3>Not cut</h3>") == 2
    assert (
        "<td>1,600</td><td>800</td>" in html and "<td>10</td><td>–</td>" in html and "−75.0\N{NO-BREAK SPACE}%" in html
    )
    for bad in ("<script>alert", "<img src=x", "<b>&amp;"):
        assert bad not in html
