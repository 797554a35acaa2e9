"""Verdicts on devices in the page and on both cards: a word as well as a colour, and where each figure comes from."""

from __future__ import annotations

import re
from pathlib import Path

from _report_results import bare, results

from potstill.report import _page as page_of
from potstill.report._card import record


def test_the_page_has_a_row_a_device_and_a_column_a_line(tmp_path: Path) -> None:
    html = page_of.page(results(), tmp_path, samples=False)
    table = html[html.index('<table class="devices">') : html.index("</table>", html.index('<table class="devices">'))]
    assert re.findall(r'scope="col">([^<]+)', table) == ["device", "verdict", "latency", "RAM", "drop from the teacher"]
    rows = re.findall(r"<tr><th scope=\"row\">(\w+)<.*?</tr>", table)
    assert rows == ["host", "rpi4", "rp2350"]
    for word in ("fits", "does not fit", "unknown"):
        assert f'<span class="pill {word.replace(" ", "-")}">{word}</span>' in table
    assert "measured; at most" in table and "modelled; at most" in table and "39\N{NO-BREAK SPACE}% fewer MACs" in html
    assert html.index("Does it fit?") < html.index("<h2>Verdict</h2>"), "near the top"
    assert "Does it fit?" not in page_of.page(bare(), tmp_path, samples=False)


def test_both_cards_say_what_they_must() -> None:
    card, twin = page_of.card(results()), record(results())
    for part in ("## Devices", "## Limits", "## Recipe", "    name: shapes", "## Digests", "**does not fit**", "**unknown whether it fits**",
                 "Whether it fits is unknown of rp2350 (student.onnx)."):  # fmt: skip
        assert part in card, part
    assert set(twin) >= {"data", "teacher", "student", "recipe", "results", "digests", "limits"}
    assert twin["digests"]["student.onnx"] == "12" * 32 and [v["verdict"] for v in twin["results"]["devices"]] == [
        "fits", "does not fit", "unknown"]  # fmt: skip
    assert any("hidden from the student" in text for text in twin["limits"])
    assert record(bare())["results"]["devices"] == []
