"""Texts as people have them: CSV, JSON Lines, parquet; and what is wrong with them, by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.clinc150 import Clinc150Spec
from potstill.data.dataset import Dataset, prepare, text_of
from potstill.data.text import TextSpec, find_columns

TEXTS = ["play some jazz", "what's the weather, please?", "naïve café ☕", 'say "yes"', "set\nan alarm", "book a table"]
LABELS = ["music", "weather", "food", "other", "alarm", "food"]


def table(path: Path, texts: list[Any] = TEXTS, labels: list[Any] = LABELS, **more: list[Any]) -> Path:
    """Write a table in the format that the suffix names."""
    columns = {"text": texts, "label": labels, **more}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        import csv

        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(columns), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def rows_of(spec: Any, split: str = "train") -> list[tuple[str, int, str]]:
    return [
        (text_of(sample), int(label), name)
        for chunk in spec.open().splits[split].chunks()
        for sample, label, name in zip(chunk.samples, chunk.labels, chunk.names, strict=True)
    ]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    spec = TextSpec(train=table(tmp_path / f"rows.{suffix}"))
    source = spec.open()
    assert source.kind == "text" and source.classes == ["alarm", "food", "music", "other", "weather"]
    found = rows_of(spec)
    assert [text for text, _, _ in found] == TEXTS
    assert [source.classes[label] for _, label, _ in found] == LABELS
    assert source.shape == (max(len(t.encode()) for t in TEXTS),)


def test_rows_are_named_by_their_line(tmp_path: Path) -> None:
    names = [name for _, _, name in rows_of(TextSpec(train=table(tmp_path / "rows.csv")))]
    assert names == [f"rows.csv line {n}" for n in (2, 3, 4, 5, 6, 8)]  # "set an alarm" takes two lines
    assert rows_of(TextSpec(train=table(tmp_path / "rows.jsonl")))[5][2] == "rows.jsonl line 6"
    assert rows_of(TextSpec(train=table(tmp_path / "rows.parquet")))[5][2] == "rows.parquet row 5"


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        spec = TextSpec(train=table(tmp_path / f"n.{suffix}", labels=[0, 1, 2, 1, 0, 10]))
        assert spec.open().classes == [str(k) for k in range(11)]
        assert [label for _, label, _ in rows_of(spec)] == [0, 1, 2, 1, 0, 10]


def test_rows_without_a_label_and_labels_that_are_no_class(tmp_path: Path) -> None:
    labels = ["music", None, "oos", "weather", "oos", "music"]
    for suffix in ("csv", "jsonl", "parquet"):
        spec = TextSpec(train=table(tmp_path / f"u.{suffix}", labels=labels), no_class="oos")
        assert spec.open().classes == ["music", "weather"]
        assert [label for _, label, _ in rows_of(spec)] == [0, -1, -1, 1, -1, 0]


def test_a_column_may_say_the_split_and_another_the_group(tmp_path: Path) -> None:
    path = table(
        tmp_path / "s.csv",
        fold=["train", "dev", "Test", "train", "validation", "train"],
        who=["a", "b", "c", "a", "b", "d"],
    )
    spec = TextSpec(train=path, split_column="fold", group_column="who", classes=tuple(sorted(set(LABELS))))
    source = spec.open()
    assert {k: r.num_rows for k, r in source.splits.items()} == {"train": 3, "validation": 2, "test": 1}
    groups = [chunk.groups for chunk in source.splits["train"].chunks()]
    assert groups[0] is not None and groups[0].tolist() == [0, 0, 3]


def test_texts_are_cut_before_a_character(tmp_path: Path) -> None:
    spec = TextSpec(train=table(tmp_path / "rows.csv"), max_bytes=12)
    assert spec.open().shape == (12,)
    assert rows_of(spec)[2][0] == "naïve café"  # its ☕ would end past 12 bytes


def test_several_files_are_one_split(tmp_path: Path) -> None:
    first, second = table(tmp_path / "a.csv"), table(tmp_path / "b.jsonl")
    spec = TextSpec(train=(first, second), test_file=table(tmp_path / "c.parquet"))
    assert [name.split()[0] for _, _, name in rows_of(spec)] == ["a.csv"] * 6 + ["b.jsonl"] * 6
    assert len(rows_of(spec, "test")) == 6


@pytest.mark.parametrize(
    ("suffix", "change", "says"),
    [
        ("csv", {"texts": [*TEXTS[:3], "  ", *TEXTS[4:]]}, "rows.csv line 5: text must not be empty"),
        ("jsonl", {"texts": [*TEXTS[:3], None, *TEXTS[4:]]}, "rows.jsonl line 4: text must not be empty"),
        ("jsonl", {"texts": [*TEXTS[:3], 7, *TEXTS[4:]]}, "rows.jsonl line 4: text must be a string; got int 7"),
        (
            "parquet",
            {"texts": [*TEXTS[:3], "a\0b", *TEXTS[4:]]},
            "rows.parquet row 3: text must not hold the character U",
        ),
        ("jsonl", {"labels": [["x"], *LABELS[1:]]}, "rows.jsonl line 1: label must be a class name or a whole number"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, suffix: str, change: dict[str, Any], says: str) -> None:
    spec = TextSpec(train=table(tmp_path / f"rows.{suffix}", **change))
    with pytest.raises(DataError) as err:
        spec.open()
    assert says in str(err.value)


def test_an_unknown_label_names_its_row_and_the_nearest(tmp_path: Path) -> None:
    test = table(tmp_path / "test.csv", labels=["music", "wether", *LABELS[2:]])
    spec = TextSpec(train=table(tmp_path / "train.csv"), test_file=test)
    with pytest.raises(DataError, match=r"test.csv line 3: label must be a class .* got 'wether'. Nearest: 'weather'"):
        rows_of(spec, "test")


def test_a_wrong_column_names_the_field_and_what_there_is(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv")
    with pytest.raises(
        DataError, match=r"'lable', which data.label_column names. Nearest: 'label'. It has: text, label"
    ):
        TextSpec(train=path, label_column="lable").open()
    with pytest.raises(DataError, match=r"fold must be train, validation or test; got 'extra'"):
        TextSpec(train=table(tmp_path / "f.csv", fold=["train"] * 5 + ["extra"]), split_column="fold").open()


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("a.csv", b"text,label\nhello, world,x\n", "a.csv line 2: must have 2 values as the heading has; got 3"),
        ("a.csv", "text,label\ncafé,x\n".encode("latin-1"), "must be UTF-8"),
        ("a.csv", b"text,label\n", "must have training rows"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": \n', "a.jsonl line 2: must be one JSON object"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b"}\n', "a.jsonl line 2: must have 'label'"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1: must be a JSON object"),
        ("a.parquet", b"PAR1", "must be a whole parquet file"),
        ("a.xlsx", b"PK", "must be one of .csv"),
    ],
)
def test_files_that_are_not_whole(tmp_path: Path, name: str, raw: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError) as err:
        TextSpec(train=tmp_path / name).open()
    assert says in str(err.value)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for heading, found in (
        ("Text,Intent,id", ("Text", "Intent")),
        ("id,utterance,category", ("utterance", "category")),
    ):
        path.write_text(heading + "\n")
        assert find_columns(path) == found
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="it has: a, b"):
        find_columns(path)


def test_groups_fall_on_one_side(tmp_path: Path) -> None:
    texts = [f"text number {i}" for i in range(200)]
    path = table(
        tmp_path / "g.csv", texts, [("a", "b")[i % 2] for i in range(200)], who=[f"p{i // 10}" for i in range(200)]
    )
    (tmp_path / "out").mkdir()
    prepare(TextSpec(train=path, group_column="who"), tmp_path / "out", Progress("quiet"))
    sides = [set(np.asarray(s.groups).tolist()) for s in Dataset.open(tmp_path / "out").splits.values()]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_clinc150_keeps_its_splits_and_its_requests_of_no_intent(shared_data: Path, tmp_path: Path) -> None:
    spec = Clinc150Spec(path=shared_data / "clinc150" / "data_full.json", overlap="drop", labelled=1500)
    prepare(spec, tmp_path, Progress("quiet"))
    data = Dataset.open(tmp_path)
    assert len(data.classes) == 150 and "oos" not in data.classes
    test, train = data.splits["test"], data.splits["train"]
    assert len(test) == 5500 and int((np.asarray(test.labels) < 0).sum()) == 1000
    assert set(np.bincount(train.labels[np.asarray(train.labelled) == 1]).tolist()) == {10}  # ten an intent
    plain = Clinc150Spec(path=spec.path, out_of_scope=False).open()
    assert {k: r.num_rows for k, r in plain.splits.items()} == {"train": 15000, "validation": 3000, "test": 4500}


def test_snips_is_read_as_a_user_would(shared_data: Path) -> None:
    path = shared_data / "snips" / "snips_tool_calls.parquet"
    source = TextSpec(train=path, label_column="intent", split_column="split").open()
    assert len(source.classes or ()) == 7
    assert {k: r.num_rows for k, r in source.splits.items()} == {"train": 13784, "test": 700}


def test_clinc150_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"train": [["hello", "greet"]]}')
    with pytest.raises(DataError, match="it lacks oos_train, val"):
        Clinc150Spec(path=tmp_path / "a.json").open()
