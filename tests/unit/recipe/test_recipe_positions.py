"""YAML with the place of every value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from potstill.core.errors import RecipeError
from potstill.recipe.load import load
from potstill.recipe.positions import Document, parse

WORD = st.text("abcdefgh-", min_size=1, max_size=6).filter(lambda s: s[0] != "-")
VALUE = st.recursive(
    st.integers(0, 10**6) | st.floats(0.001, 1e6).map(lambda v: round(v, 3)) | WORD,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(WORD, inner, min_size=1, max_size=3),
    max_leaves=12,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


@given(st.dictionaries(WORD, VALUE, min_size=1, max_size=4), st.booleans())
def test_every_value_and_key_is_where_its_place_says(content: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(content, default_flow_style=flow, width=40, sort_keys=False)
    document = parse(text, "r.yaml")
    assert document.value == yaml.safe_load(text)
    lines = text.splitlines()
    for path, value in leaves(document.value):
        line, column = document.places[path]
        written = lines[line - 1][column - 1 :]
        assert yaml.safe_load(written.split(",")[0].split("}")[0].split("]")[0].split(" #")[0]) == value
        if isinstance(path[-1], str):
            line, column = document.keys[path]
            assert lines[line - 1][column - 1 :].lstrip("'\"").startswith(path[-1])


def test_a_path_that_is_not_written_down_is_at_its_nearest_parent() -> None:
    document = parse("a:\n  b: {c: 1}\n", "r.yaml")
    assert document.where(("a", "b", "c")) == "r.yaml:2:10"
    assert document.where(("a", "b", "x", "y")) == "r.yaml:2:6" and document.where(("z",)) == "r.yaml:1:1"
    assert document.at_key(("a", "b", "c")) == "r.yaml:2:7" and document.at_key(("a", "x")) == "r.yaml:2:3"
    assert Document("empty").where(("a",)) == "empty:1:1"


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 1e-3), ("-2E5", -2e5), ("1_0e1", 100.0), ("1.5e+2", 150.0), ("3", 3), ("0.5", 0.5), ("2024-01-02", "2024-01-02"),
     ("e3", "e3"), ("1e", "1e"), ("true", True), ("~", None), ("'1e3'", "1e3")],
)  # fmt: skip
def test_scalars_are_what_people_mean(written: str, value: Any) -> None:
    found = parse(f"a: {written}\n", "r").value["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "r:3:1 a: must be given once"),
        ("a: 1\n2: 3\n", "r:2:1 a key must be text; got 2"),
        ("a: 1\n? [x]\n: 2\n", "r:2:3 a key must be text"),
        ("a: [1, 2\nb: 3\n", r"r:\d+:\d+ must be YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "r:1:4 must be a plain mapping or list; got the tag"),
        ("a: !!set {b, c}\n", "r:1:4 must be a plain mapping or list"),
        ("a: !!python/name:os.system x\n", "r:1:4 must be a plain value"),
        ("a: !!int x\n", "r:1:4 must be a plain value"),
        ("a: \t1\n\tb: 2\n", r"r:\d+:\d+ must be YAML"),
        ("a: *nothing\n", "r:1:4 must be YAML"),
        ("a: &x [*x]\n", "nested at most 60 levels"),
        ("[" * 70 + "]" * 70, "nested at most 60 levels"),
        ("a: 1\n---\nb: 2\n", "must be YAML"),
        ("", "got an empty file"),
        ("# only a comment\n", "got an empty file"),
    ],
)
def test_what_is_wrong_has_its_place(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse(text, "r")


def test_every_repeated_key_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n", "r")
    assert [f.split(" must")[0] for f in caught.value.faults] == ["r:2:1 a:", "r:3:11 c:"]


def test_aliases_of_aliases_end_early() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(RecipeError, match="at most 100000 values, aliases included"):
        parse(bomb, "r")


def test_an_alias_is_where_it_is_used() -> None:
    document = parse("a: &x {b: 1}\nc: *x\n", "r")
    assert document.value == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfename: x", r"must be UTF-8 text; got byte 0xff at 0"),
        (b"a" * 1_000_001, "must be at most 1000000 bytes; got 1000001"),
        (b"- a\n- b\n", r"r\.yaml:1:1 must be a mapping; got list"),
        (b"\xef\xbb\xbfname: x\n", "data: is required"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        load(tmp_path / "r.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="got a folder"):
        load(tmp_path)
    (tmp_path / "digits.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError, match=r"Nearest: 'digits\.yaml'"):
        load(tmp_path / "digit.yaml")
    with pytest.raises(RecipeError, match="must be a file that exists"):
        load(tmp_path / "no" / "such.yaml")
    if os.geteuid() != 0:
        (tmp_path / "digits.yaml").chmod(0)
        with pytest.raises(RecipeError, match="must be readable"):
            load(tmp_path / "digits.yaml")


RECIPE = """\
name: x
data: {kind: digits}
teacher: {kind: train, model: {kind: ds-cnn}}
student: {kind: ds-cnn}
steps:
  - kind: distill
    objectives: [{kind: soft-label, %s}]
"""


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            "temperature: hot",
            r"r\.yaml:7:50 steps\[0\]\.objectives\[0\]\.temperature: must be a number or a schedule .*got 'hot'",
        ),
        ("temperature: {kind: linear, start: 4}", r"r\.yaml:7:50 .*temperature\.end: is required"),
        ("temperature: {kind: linea, start: 4, end: 1}", "Nearest: 'linear'"),
        ("temperature: 0", "must be > 0 throughout; got 0"),
        ("weight: {kind: linear, start: 1, end: -1}", "must be >= 0 throughout; got -1"),
        ("temperature: {kind: linear, start: 4, end: 1, begin: 0.5, until: 0.5}", "begin must be below until"),
        ("standardise: true", "Nearest: 'standardize'"),
    ],
)
def test_a_schedule_that_is_wrong_is_told_once(tmp_path: Path, field: str, words: str) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE % field)
    with pytest.raises(RecipeError, match=words) as caught:
        load(tmp_path / "r.yaml")
    assert len(caught.value.faults) == 1


def test_paths_are_the_recipes_own_and_its_modules_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir("/")
    folder = tmp_path / "project"
    (folder / "photos").mkdir(parents=True)
    (folder / "r.yaml").write_text(
        RECIPE.replace("{kind: digits}", "{kind: image-folder, path: photos}") % "temperature: 2"
    )
    recipe = load(folder / "r.yaml")
    assert recipe.data.path == folder / "photos"  # type: ignore[attr-defined]
    assert str(folder) in sys.path
