"""`potstill init translation` and `multi-label-classification` on files as people have them, and on those that are wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from potstill.cli.init import write_recipe
from potstill.core.errors import PotstillError
from potstill.recipe.load import load

GERMAN = [f"der Hund Nummer {i} läuft über die Straße" for i in range(40)]
ENGLISH = [f"dog number {i} runs across the street" for i in range(40)]


def lines(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def pair(folder: Path, stem: str = "train.", end: str = "") -> Path:
    lines(folder / f"{stem}de{end}", GERMAN)
    lines(folder / f"{stem}en{end}", ENGLISH)
    return folder


def written(data: Path, out: Path, task: str = "translation") -> tuple[str, Any]:
    said = write_recipe(task, data, out, force=True)
    return said, load(out)


def test_a_folder_of_pairs_with_their_splits(tmp_path: Path) -> None:
    pair(tmp_path / "texts", "train.", ".gz")
    lines(tmp_path / "texts" / "val.de.gz", GERMAN[:5])
    lines(tmp_path / "texts" / "val.en.gz", ENGLISH[:5])
    lines(tmp_path / "texts" / "README.txt", ["what this is"])
    said, recipe = written(tmp_path / "texts", tmp_path / "recipe.yaml")
    assert "Found 40 pairs to learn from, 5 for the validation, de to en" in said and "left out: README.txt" in said
    assert repr(GERMAN[0]) in said and repr(ENGLISH[0]) in said
    assert recipe.data.train.source.name == "train.de.gz" and recipe.data.train.target.name == "train.en.gz"
    assert recipe.data.validation_files.target.name == "val.en.gz" and recipe.data.test == 0.2
    assert recipe.student.input.max_tokens == recipe.teacher.model.input.max_tokens == recipe.labels.codec.length
    assert [e.kind for e in recipe.export] == ["onnx"]


@pytest.mark.parametrize(("stem", "end"), [("train.", ""), ("", ".txt"), ("corpus-", ".txt"), ("part.1_", "")])
def test_names_that_tell_languages(stem: str, end: str, tmp_path: Path) -> None:
    pair(tmp_path / "texts", stem, end)
    said, recipe = written(tmp_path / "texts", tmp_path / "recipe.yaml")
    assert "de to en" in said and recipe.data.train.source.name == f"{stem}de{end}"


def test_a_file_is_what_is_read_and_its_neighbour_what_is_written(tmp_path: Path) -> None:
    pair(tmp_path)
    said, recipe = written(tmp_path / "train.en", tmp_path / "recipe.yaml")
    assert (
        "en to de" in said
        and recipe.data.train.source.name == "train.en"
        and recipe.data.train.target.name == "train.de"
    )


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("source,target", ("source", "target")),
        ("id,de,en", ("de", "en")),
        ("en,id,de", ("de", "en")),
        ("Deutsch,Englisch", ("Deutsch", "Englisch")),
        ("target,source,note", ("source", "target")),
        ("note,src,translation", ("src", "translation")),
    ],
)
def test_columns_of_a_table(heading: str, columns: tuple[str, str], tmp_path: Path) -> None:
    names = heading.split(",")
    rows = [dict(zip(columns, texts, strict=True)) for texts in zip(GERMAN, ENGLISH, strict=True)]
    (tmp_path / "t.csv").write_text(
        "\n".join([heading, *(",".join(r.get(n, "7") for n in names) for r in rows)]) + "\n"
    )
    said, recipe = written(tmp_path / "t.csv", tmp_path / "recipe.yaml")
    assert (recipe.data.source_column, recipe.data.target_column) == columns
    assert f"{columns[0]} to {columns[1]}" in said and repr(GERMAN[0]) in said.split(" -> ")[0]


def test_json_lines_and_tsv(tmp_path: Path) -> None:
    rows = [{"src": a, "tgt": b} for a, b in zip(GERMAN, ENGLISH, strict=True)]
    lines(tmp_path / "t.jsonl", [json.dumps(r) for r in rows])
    lines(tmp_path / "t.tsv", ["de\ten", *(f"{a}\t{b}" for a, b in zip(GERMAN, ENGLISH, strict=True))])
    for name, columns in (("t.jsonl", ("src", "tgt")), ("t.tsv", ("de", "en"))):
        _, recipe = written(tmp_path / name, tmp_path / "recipe.yaml")
        assert (recipe.data.source_column, recipe.data.target_column) == columns


def _uneven(folder: Path) -> Path:
    lines(folder / "train.de", GERMAN)
    lines(folder / "train.en", ENGLISH[:-1])
    return folder


def _three(folder: Path) -> Path:
    lines(pair(folder) / "train.fr", ENGLISH)
    return folder


def _lone(folder: Path) -> Path:
    return lines(folder / "train.de", GERMAN)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _no_split(folder: Path) -> Path:
    pair(folder, "a.")
    return pair(folder, "b.")


def _only_test(folder: Path) -> Path:
    pair(folder, "test.")
    return pair(folder, "val.")


def _columns(folder: Path) -> Path:
    return lines(folder / "t.csv", ["first,second,third", "a,b,c"])


def _hole(folder: Path) -> Path:
    return lines(folder / "t.csv", ["source,target", "ein Hund,a dog", "eine Katze,"])


def _few(folder: Path) -> Path:
    return lines(folder / "t.csv", ["source,target", "ein Hund,a dog"])


def _bytes(folder: Path) -> Path:
    pair(folder)
    (folder / "train.en").write_bytes(b"\xff\xfe")
    return folder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_uneven, "train.en: must have as many lines as train.de; it ends after 39"),
        (_three, "must hold two languages"),
        (_lone, "with the same name but for the language, as train.en; got none"),
        (_empty, "must hold pairs of files whose lines belong together, as train.de and train.en"),
        (_no_split, "files must have train, validation or test in their names"),
        (_only_test, "must hold files with train in their name; got test, val"),
        (_columns, "must have a column of texts named source .* it has: first, second, third"),
        (_hole, "t.csv line 3: must have a translation; got None"),
        (_few, "must have at least 20 pairs to learn from; got 1"),
        (_bytes, "train.en: must be UTF-8"),
        (lambda folder: folder / "trian.de", "must be a file or folder that exists"),
    ],
)
def test_what_is_wrong_is_named(make: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=words):
        write_recipe("translation", make(tmp_path / "texts"), tmp_path / "recipe.yaml", force=False)
    assert not (tmp_path / "recipe.yaml").exists()


LABELS = [["light"], ["light", "music"], [], ["music"]]


def several(path: Path, **last: Any) -> Path:
    rows = [{"text": f"please see to the things of number {i}", "labels": LABELS[i % 4]} for i in range(60)]
    return lines(path, [json.dumps(r) for r in [*rows, *([last] if last else [])]])


def test_several_labels_as_lists(tmp_path: Path) -> None:
    said, recipe = written(several(tmp_path / "t.jsonl"), tmp_path / "recipe.yaml", "multi-label-classification")
    assert "Found 2 classes: light, music" in said and "1.0 classes a text, 2 at most, 15 texts with none" in said
    assert (
        recipe.data.several
        and recipe.data.label_column == "labels"
        and recipe.task.kind == "multi-label-classification"
    )
    assert {o.kind for step in recipe.steps for o in step.terms()} == {"multi-label-soft", "multi-label"}


def test_several_labels_with_a_semicolon_and_their_groups(tmp_path: Path) -> None:
    rows = [f"see to it {i},{'light;music' if i % 3 else 'light'},u{i % 9}" for i in range(60)]
    lines(tmp_path / "t.csv", ["text,tags,user", *rows])
    said, recipe = written(tmp_path / "t.csv", tmp_path / "recipe.yaml", "multi-label-classification")
    assert recipe.data.label_column == "tags" and recipe.data.group_column == "user" and "2 at most" in said


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"text": "x", "labels": [3]}, r"line 61: labels must be a list of names, .* got \[3\]"),
        ({"text": " ", "labels": ["light"]}, "line 61: text must not be empty"),
        ({"text": "x"}, "line 61: must have 'labels' as the first row has"),
        (
            {"text": "x", "labels": "light|music"},
            r"line 61: labels must be a list of names, .* If '\|' is between names",
        ),
    ],
)
def test_a_wrong_row_of_several_labels_is_named(last: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=words):
        write_recipe(
            "multi-label-classification", several(tmp_path / "t.jsonl", **last), tmp_path / "recipe.yaml", force=False
        )


def test_what_has_one_label_a_row_or_no_text_is_sent_elsewhere(tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", [json.dumps({"text": f"text {i}", "label": "ab"[i % 2]}) for i in range(40)])
    with pytest.raises(PotstillError, match=f"Try potstill init text-classification --data {one}"):
        write_recipe("multi-label-classification", one, tmp_path / "recipe.yaml", force=False)
    series = lines(tmp_path / "s.csv", ["x0,x1,labels", "1,2,a;b"])
    with pytest.raises(
        PotstillError, match=r"must have a column of texts .* Series with several classes each .* kind: callable"
    ):
        write_recipe("multi-label-classification", series, tmp_path / "recipe.yaml", force=False)
    several(tmp_path / "split" / "train.jsonl")
    several(tmp_path / "split" / "test.jsonl", text="x", labels=["musik"])
    with pytest.raises(
        PotstillError, match=r"test.jsonl line 61: labels must be classes that the training rows have; got 'musik'"
    ):
        write_recipe("multi-label-classification", tmp_path / "split", tmp_path / "recipe.yaml", force=False)
