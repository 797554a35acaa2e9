"""`potstill init text-classification` on tables as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.cli.init import write_recipe
from potstill.cli.inits import text_classification
from potstill.core.errors import PotstillError
from potstill.recipe.load import load

WORDS = ["lights", "music", "weather"]


def table(path: Path, num: int = 60, text: str = "text", label: str = "label", **more: Any) -> Path:
    rows = [
        {
            text: f"please see to the {WORDS[i % 3]} number {i}",
            label: WORDS[i % 3],
            **{k: v(i) for k, v in more.items()},
        }
        for i in range(num)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(data: Path, out: Path) -> tuple[str, Any]:
    said = write_recipe("text-classification", data, out, force=True)
    return said, load(out)


def test_a_table_becomes_a_recipe_that_loads(tmp_path: Path) -> None:
    said, recipe = written(table(tmp_path / "requests.jsonl"), tmp_path / "recipe.yaml")
    assert "Found 3 classes: lights, music, weather" in said and "60 texts to learn from" in said
    assert recipe.name == "requests" and recipe.task.kind == "text-classification"
    assert recipe.data.open().shape == (len("please see to the weather number 59"),)
    assert recipe.student.kind == "text-cnn" and recipe.student.input.max_tokens == 16


def test_columns_and_files_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, num in (("train", 60), ("dev", 12), ("test", 9)):
        table(folder / f"{name}.jsonl", num, "utterance", "intent", user=lambda i: f"u{i // 4}")
    said, recipe = written(folder, tmp_path / "recipe.yaml")
    data = recipe.data
    assert (data.text_column, data.label_column, data.group_column) == ("utterance", "intent", "user")
    assert {k: r.num_rows for k, r in data.open().splits.items()} == {"train": 60, "validation": 12, "test": 9}
    assert "12 for the validation, 9 for the test" in said


def test_a_column_that_says_the_split_is_used(tmp_path: Path) -> None:
    path = table(tmp_path / "all.jsonl", split=lambda i: "test" if i % 5 == 0 else "train")
    _, recipe = written(path, tmp_path / "recipe.yaml")
    assert {k: r.num_rows for k, r in recipe.data.open().splits.items()} == {"train": 48, "test": 12}


@pytest.mark.parametrize("there", [True, False])
def test_the_teacher_is_pretrained_where_one_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(text_classification.importlib.util, "find_spec", lambda name: object() if there else None)
    text, _ = text_classification.recipe(table(tmp_path / "a.jsonl"), "a.jsonl", tmp_path, "a")
    assert ("kind: transformers\n" in text, "kind: train\n" in text) == (there, not there)
    monkeypatch.undo()
    (tmp_path / "recipe.yaml").write_text(text)
    assert load(tmp_path / "recipe.yaml").teacher.kind == ("transformers" if there else "train")


def test_small_classes_are_mentioned(tmp_path: Path) -> None:
    path = table(tmp_path / "a.jsonl")
    with path.open("a") as file:
        file.write('{"text": "what time is it", "label": "time"}\n{"text": "no label here", "label": null}\n')
    said, _ = written(path, tmp_path / "recipe.yaml")
    assert "class 'time' has 1 texts" in said and "1 of them without a label" in said


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "must hold a table with train in its name"),
        ({"a.jsonl": 3, "b.jsonl": 3}, "must be the only one with train, validation or test in its name"),
        ({"test.jsonl": 3}, "must hold a table with train in its name"),
    ],
)
def test_folders_that_are_not_plain(tmp_path: Path, files: dict[str, int], says: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, num in files.items():
        table(folder / name, num)
    with pytest.raises(PotstillError, match=says):
        written(folder, tmp_path / "recipe.yaml")


def test_rows_and_columns_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    path = table(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + '{"text": " ", "label": "music"}\n')
    with pytest.raises(PotstillError, match=r"a.jsonl line 61: text must not be empty"):
        written(path, tmp_path / "recipe.yaml")
    with pytest.raises(PotstillError, match="must have a column of texts named text"):
        written(table(tmp_path / "b.jsonl", text="x"), tmp_path / "recipe.yaml")
    assert not (tmp_path / "recipe.yaml").exists()
