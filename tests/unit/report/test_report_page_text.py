"""The page, the card and the terminal's table, read as text."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from _report_results import HOSTILE, bare, forms, half_known, png, results, write_samples
from rich.console import Console

from potstill.report import _page as page_of
from potstill.report import build, verdict_table

VOID = {"meta", "link", "br", "img", "rect", "line", "circle", "polyline"}


class Reader(HTMLParser):
    """Collects tags and text; fails on a tag that is not closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def page(found: dict[str, Any], run: Path, samples: bool = True) -> str:
    return page_of.page(found, run, samples=samples)


@pytest.mark.parametrize("form", forms())
def test_every_form_gives_a_sound_page(form: str, tmp_path: Path) -> None:
    found = forms()[form]
    before = copy.deepcopy(found)
    reader = read(page(found, tmp_path))
    assert found == before
    text = " ".join(reader.text)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", text)
    assert found["recipe"] in reader.text
    assert {"script", "iframe", "object", "embed", "form", "base"}.isdisjoint(reader.tags)
    assert not [a for a in reader.attributes if a[1].startswith("on")]
    for tag, key, value in reader.attributes:
        if key in ("src", "href", "xlink:href", "srcset", "action"):
            assert (value or "").startswith("data:"), f"<{tag} {key}={value}>"
    css = "".join(reader.text[i] for i, t in enumerate(reader.text) if "--bg:" in t)
    assert "url(" not in css
    assert "@import" not in css


def test_the_page_shows_what_it_must(tmp_path: Path) -> None:
    found = results()
    write_samples(found, tmp_path)
    text = re.sub(r"\s+", " ", " ".join(read(page(found, tmp_path)).text))
    for part in (
        "5.6 points over the same student trained without a teacher", "The teacher was trained on labels that are hidden",
        "77.8 k", "970", "14.4 k", "6.72 kB", "24 µs", "unresolved", "[+3.2, +8.1]", "Validation accuracy, 60 rows",
        "Weight and temperature over time", "3.75 → 1", "0.9 throughout", "Temperature, student, seed 0", "Recall",
        "Confusion of the student", "Calibration", "Soft-label store", "float16", "Feature stores", "12×4×4", "3.2 × 10⁻⁹ nats", "A processor", "torch 2.8.0",
        "name: shapes", "ab" * 32, "ef" * 32, "12" * 32, "measured", "One fixed teacher and one fixed split",
        "2,160 optimiser steps",
    ):  # fmt: skip
        assert part in text, part
    order = [
        text.index(h)
        for h in (" Verdict ", " Training ", " By class ", " Teacher against student ", " Where it came from ")
    ]
    assert order == sorted(order)


def test_a_caution_is_marked(tmp_path: Path) -> None:
    html = page(results(), tmp_path)
    assert re.search(r'class="note"[^>]*>The teacher was trained on labels', html)
    assert not re.search(r'class="note"[^>]*>One fixed teacher', html)


def test_an_unchanging_temperature_is_said_not_drawn(tmp_path: Path) -> None:
    found = results()
    for records in found["curves"]["student"].values():
        for record in records:
            record["terms"]["soft-label"]["temperature"] = 4.0
    html = page(found, tmp_path)
    assert "4 throughout" in html
    assert "<h3>Temperature" not in html
    assert "<h3>Temperature" in page(results(), tmp_path)


def test_the_mean_of_seeds_ends_where_the_first_seed_does() -> None:
    lines = [[(1.0, 0.2), (2.0, 0.4), (3.0, 0.9)], [(1.0, 0.4), (2.0, 0.8)]]
    assert page_of._mean(lines) == [(1.0, pytest.approx(0.3)), (2.0, pytest.approx(0.6))]


def test_pictures_are_carried_within(tmp_path: Path) -> None:
    found = results()
    write_samples(found, tmp_path)
    sources = [v for tag, key, v in read(page(found, tmp_path)).attributes if (tag, key) == ("img", "src")]
    assert [base64.b64decode((s or "").split(",")[1]) for s in sources] == [png(8, 60 * row + 15) for row in range(4)]


def test_without_samples_there_is_no_picture(tmp_path: Path) -> None:
    found = results()
    write_samples(found, tmp_path)
    html = page(found, tmp_path, samples=False)
    assert "img" not in read(html).tags
    assert "disagree" not in html
    assert "Calibration" in html


def test_a_picture_that_is_gone_is_left_out(tmp_path: Path) -> None:
    found = results()
    write_samples(found, tmp_path)
    (tmp_path / found["disagreements"][1]["file"]).unlink()
    reader = read(page(found, tmp_path))
    assert [v for tag, key, v in reader.attributes if (tag, key) == ("img", "alt")] == [
        "test row 0",
        "test row 2",
        "test row 3",
    ]
    assert "3 shown" in " ".join(reader.text)


@pytest.mark.parametrize("where", ["../secret.png", "samples/../../secret.png", "samples/link.png"])
def test_no_file_outside_the_run_is_read(tmp_path: Path, where: str) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(8, 1))
    (run / "samples" / "link.png").symlink_to(tmp_path / "secret.png")
    found = results()
    found["disagreements"] = [found["disagreements"][0] | {"file": where}]
    assert "img" not in read(page(found, run)).tags


def test_a_row_without_a_label_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    found = half_known()
    found["disagreements"] = found["disagreements"][:1]
    write_samples(found, tmp_path)
    html = page(found, tmp_path)
    assert "unknown" in html
    assert 'class="right"' not in html
    assert 'class="wrong"' not in html


def test_small_pictures_keep_their_pixels(tmp_path: Path) -> None:
    found = results()
    write_samples(found, tmp_path)
    assert 'class="pixels"' in page(found, tmp_path)
    found["data"]["shape"] = [224, 224, 3]
    assert 'class="pixels"' not in page(found, tmp_path)


def test_names_stay_text(tmp_path: Path) -> None:
    found = forms()["hostile"]
    write_samples(found, tmp_path)
    text = read(page(found, tmp_path)).text
    for name in HOSTILE:
        assert any(name in t for t in text), name


def test_the_worst_of_many_classes(tmp_path: Path) -> None:
    html = page(forms()["forty classes"], tmp_path)
    assert "the 30 worst of 40 classes" in html
    assert "kind 39" in html
    assert "Most often confused" in html
    assert "Confusion of the student" not in html
    assert "Most often confused" not in page(results(), tmp_path)


def test_build_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results()))
    write_samples(results(), tmp_path)
    first = build(tmp_path).read_bytes(), (tmp_path / "model_card.md").read_bytes()
    again = build(tmp_path).read_bytes(), (tmp_path / "model_card.md").read_bytes()
    assert first == again
    assert len(first[0]) < 100_000


@pytest.mark.parametrize("form", forms())
def test_every_form_gives_a_card(form: str) -> None:
    found = forms()[form]
    card = page_of.card(found)
    assert not re.search(r"\b(None|nan|Undefined)\b", card.replace("run(None", ""))
    text = re.sub(r"^ {4}.*$", "", card, flags=re.M)  # the recipe stands there as it is, as code
    assert not re.search(r"(?<!\\)<", text.replace("`", "")), "no HTML"
    assert "\n\n\n" not in card
    assert card.endswith("\n")
    for first, second in re.findall(r"^(\|.*\|)\n\|[-|]+\|\n((?:\|.*\|\n)+)", card, re.M):
        columns = len(re.findall(r"(?<!\\)\|", first))
        assert all(len(re.findall(r"(?<!\\)\|", row)) == columns for row in second.splitlines()), second


def test_the_card_says_how_to_use_it() -> None:
    card = page_of.card(results())
    for part in ('InferenceSession("student.onnx")', "circle, cross, square.", "**Caution.** The teacher was trained", "ab" * 32,
                 "1 thread, measured on A processor", "| hard-label (control), 2 seeds | 87.0 % [84.0, 89.0] | gain +5.6"):  # fmt: skip
        assert part in card, part
    assert "InferenceSession" not in page_of.card(bare())


def table(found: dict[str, Any], width: int) -> list[str]:
    out = io.StringIO()
    console = Console(width=width, file=out, color_system=None)
    console.print(verdict_table(found, width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_has_one_line_a_model(width: int) -> None:
    lines = table(results(), width)
    assert len(lines) == 3 + 4  # title, header, rule, models
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    student, control, other = lines[-3:]
    assert student.split()[:2] == ["student", "90.0"]
    assert control.endswith("+5.6 [+3.2, +8.1]  gain")
    assert other.endswith("+0.6 [-0.03, +1.2]  unresolved")
    assert "params" in lines[1]
    assert ("latency" in lines[1]) == (width >= 100)


def test_wide_figures_still_fit_eighty() -> None:
    found = results()
    found["gains"][1] |= {"points": -10.22, "low": -23.61, "high": 13.17}
    found["arms"][2]["accuracy"] = {"value": 1.0, "low": 0.998, "high": 1.0}
    lines = table(found, 80)
    assert len(lines) == 3 + 4
    assert lines[-1].endswith("100.0 % [99.8, 100.0]  -10.2 [-23.6, +13.2]  unresolved")


def test_a_narrow_terminal_wraps_and_cuts_nothing() -> None:
    text = " ".join(table(results(), 60))
    assert "…" not in text
    assert "unresolved" in text


def test_brackets_in_a_name_are_no_markup() -> None:
    found = results()
    found["name"] = "run [red]x[/red]"
    assert table(found, 80)[0] == "run [red]x[/red]"


def test_features_that_were_compared_are_named(tmp_path: Path) -> None:
    found = results()
    assert "Features compared" not in page(found, tmp_path, samples=False)
    pairs = [{"student": HOSTILE, "teacher": "layer1"}, {"student": "4", "teacher": "layer2"}]
    found["arms"][0]["taps"] = {"feature-l2": pairs}
    text = "".join(read(page(found, tmp_path, samples=False)).text)
    assert f"Features compared, student ↔ teacher. feature-l2: {HOSTILE} ↔ layer1, 4 ↔ layer2." in text


def _headings(found: dict[str, Any], run: Path) -> list[str]:
    return re.findall(r"<h3>(Loss|Weight of|Factor|Share)[^<]*?(, log scale)?</h3>", page(found, run, samples=False))


def test_loss_weight_and_share_of_several_terms_are_drawn(tmp_path: Path) -> None:
    found = results()
    assert _headings(found, tmp_path) == [("Loss", ""), ("Weight of", ""), ("Share", "")]
    for records in found["curves"]["student"].values():
        for record in records:
            record["terms"]["hard-label"] |= {"loss": 0.002, "weight": 3000.0, "factor": 0.01}
            record["terms"]["soft-label"] |= {"factor": 1.0}
    assert _headings(found, tmp_path) == [(n, ", log scale") for n in ("Loss", "Weight of", "Factor")] + [("Share", "")]


def test_of_one_term_only_the_loss_is_drawn(tmp_path: Path) -> None:
    found = results()
    for records in found["curves"]["student"].values():
        for record in records:
            del record["terms"]["hard-label"]
            record["terms"]["soft-label"]["share"] = None
    assert _headings(found, tmp_path) == [("Loss", "")]


def test_an_epoch_is_said_in_steps(tmp_path: Path) -> None:
    text = "".join(read(page(results(), tmp_path, samples=False)).text)
    assert "trained for 2,160 optimiser steps. An epoch is 36 of them." in text


def test_texts_of_no_class_are_judged_where_there_are_some(tmp_path: Path) -> None:
    found = results()
    assert "Out of scope" not in page_of.page(found, tmp_path, samples=False)
    judged = {"auroc": 0.912, "false_accept_rate": 0.25, "threshold": 0.1, "num_inside": 4500, "num_outside": 1000}
    found["teacher"]["rejection"], found["student"]["rejection"] = judged, {**judged, "auroc": 0.9}
    for arm in found["arms"]:
        arm["rejection"] = {"auroc": 0.875, "false_accept_rate": 0.5}
    read = Reader()
    html = page_of.page(found, tmp_path, samples=False)
    read.feed(html)
    text = " ".join(" ".join(read.text).split())
    assert "1,000 test rows without a label against 4,500 with one" in text
    assert "teacher 0.912 25.0" in text and text.count("0.875 50.0") == len(found["arms"])
