"""The page and the card of a forecast: errors are called what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from _report_results import forecast

from potstill.report import _say as say
from potstill.report import verdict_table
from potstill.report._page import card, page


def test_an_error_is_shown_as_one() -> None:
    figure = {"value": 0.629, "low": 0.61, "high": 0.65, "unit": "error"}
    assert say.score(figure) == "0.371"
    assert say.with_interval(figure) == "0.371 [0.350, 0.390]"
    assert say.score({"value": 0.629, "unit": "share"}) == "62.9 %" and say.score(None) == "–"


def test_page_and_card_speak_of_errors(tmp_path: Path) -> None:
    found = forecast()
    text = page(found, tmp_path, samples=True)
    for words in ("test MSE", "Mean squared error on the whole test split", "Forecasts over truth", "load: smallest error, MSE 0.1",
                  "load: 99% have a smaller error", "temperature: median error", "Mean squared error by steps ahead", "a point is 0.01 of MSE",
                  "explains 99.0", "Validation MSE"):  # fmt: skip
        assert words in text, words
    for words in ("Recall", "Calibration", "Macro-F1", "accuracy", "top-1"):
        assert words not in text, words
    words = card(found)
    assert "0.380 [0.330, 0.430]" in words and "points of 0.01 MSE" in words and "2 variables" in words
    assert "accuracy" not in words.lower() and "pixels" not in words.lower()


def test_the_verdict_in_words_and_as_a_table() -> None:
    assert "5.6 points (0.01 of MSE each) over the same student" in say.sentence(forecast())
    assert verdict_table(forecast()).columns[1].header == "MSE, 95 %"


@pytest.mark.parametrize("samples", [True, False])
def test_without_samples_no_row_is_shown(samples: bool, tmp_path: Path) -> None:
    assert ("smallest error" in page(forecast(), tmp_path, samples=samples)) == samples
