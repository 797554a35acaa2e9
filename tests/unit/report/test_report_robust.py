"""Corrupted samples as the page and the card tell of them."""

from __future__ import annotations

from pathlib import Path

from _report_results import forecast, results
from _report_robust import robustness, without_ratio

from potstill.report import _robust as told
from potstill.report._page import card, page


def test_nothing_is_said_where_nothing_was_corrupted(tmp_path: Path) -> None:
    assert told.section(results()) is None
    assert "Robustness" not in page(results(), tmp_path, samples=False) + card(results())


def test_models_stand_side_by_side_with_every_figure(tmp_path: Path) -> None:
    found = told.section(results() | {"robustness": robustness()})
    assert found is not None
    assert found["table"]["head"] == [
        "accuracy, clean", "corrupted, mean", "mCE", "same answer, severity 1", "same answer, mean",
        "ECE, clean → corrupted, points", "out of scope, clean → corrupted",
    ]  # fmt: skip
    names = [(name, role) for name, role, _ in found["table"]["rows"]]
    assert names == [("teacher", "train"), ("control", "the strongest, hard-label"), ("student", "seed 0"),
                     ("student.onnx", "in its runtime")]  # fmt: skip
    rows = {name: cells for name, _, cells in found["table"]["rows"]}
    assert rows["teacher"][2] == "1" and rows["control"][2] == "2.00 [1.80, 2.30]"
    assert rows["student"] == ["87.0 % [83.0, 90.0]", "67.0 % [63.0, 70.0]", "3.00 [2.80, 3.30]", "90.0 %", "75.0 %", "2.1 → 13.4",
                               "0.951 → 0.842"]  # fmt: skip
    text = " ".join(found["sentences"])
    for word in (
        "500 test rows",
        "severity 1 to 5",
        "Hendrycks and Dietterich 2019",
        "Guo et al. 2017",
        "15 bins",
        "1 − accuracy",
    ):
        assert word in text
    assert [heading for heading, _ in found["charts"]] == ["noise", "band loss", "clock skew"]
    assert len(found["by_severity"]["rows"]) == 6
    both = page(results() | {"robustness": robustness()}, tmp_path, samples=False)
    assert "<h2>Robustness</h2>" in both and "## Robustness" in card(results() | {"robustness": robustness()})


def test_a_chart_has_a_line_of_its_own_colour_and_pattern_for_each_model() -> None:
    found = results() | {"robustness": robustness(("noise",))}
    (_, chart), sides = told.section(found)["charts"][0], told._sides(found)
    assert chart.count("<polyline") == 4 and 'role="img"' in chart and "accuracy by severity of noise" in chart
    assert len({s.colour for s in sides}) == len({s.dash for s in sides}) == 4
    assert chart.count("<circle") == 4 * 3
    assert sides[2].colour == told.charts.STUDENT and sides[1].colour == told.charts.SERIES[1], (
        "as in every other chart"
    )


def test_without_an_error_of_the_teachers_there_is_no_ratio() -> None:
    found = told.section(results() | {"robustness": without_ratio(robustness())})
    assert {cells[2] for _, _, cells in found["table"]["rows"]} == {"–"}
    text = " ".join(found["sentences"])
    assert "The teacher makes no error under noise, band-loss, clock-skew" in text and "of 9 groups" in text


def test_an_error_is_drawn_as_an_error_and_has_no_calibration() -> None:
    found = told.section(forecast() | {"robustness": robustness(unit="error")})
    assert found["table"]["head"] == [
        "MSE, clean", "corrupted, mean", "mCE", "moved by, MSE, severity 1", "moved by, MSE, mean",
    ]  # fmt: skip
    assert found["table"]["rows"][2][2][:2] == ["0.130 [0.100, 0.170]", "0.330 [0.300, 0.370]"]
    text = " ".join(found["sentences"])
    assert (
        "A calibration error is not given: it is one of classes" in text
        and "An error is MSE." in text
        and "Moved by: MSE between" in text
    )
    assert "%" not in found["charts"][0][1].replace("95 %", "")
