"""The page and the card of a translator: several files, texts in place of classes, latency of a whole sentence."""

from __future__ import annotations

from pathlib import Path

from _report_results import results, translation

from potstill.report._page import card, page


def test_page_names_every_file_and_says_what_was_timed(tmp_path: Path) -> None:
    text = page(translation(), tmp_path, samples=True)
    for words in ("<code>student.step.onnx</code> 2 kB", "files</dt><dd>6.72 kB", "what is written agrees on", "of 256 rows",
                  "Latency a text, from text to text", "The mean over 8 test texts", "tokenizer and search included", "Ein Hund &lt;b&gt;"):  # fmt: skip
        assert words in text, words
    assert "top-1" not in text
    alone = page(results(), tmp_path, samples=True)
    assert "top-1 agrees on" in alone and "from text to text" not in alone and "files</dt>" not in alone


def test_card_says_how_texts_are_written() -> None:
    text = card(translation())
    for words in (
        "| task | translation |",
        'ps.Translator(".")',
        "It answers with a text",
        f"| student.shared.bin | `{'3' * 64}` |",
    ):
        assert words in text, words
    for words in ("classes |", "logit for each class", "InferenceSession"):
        assert words not in text, words
    assert "InferenceSession" in card(results())
