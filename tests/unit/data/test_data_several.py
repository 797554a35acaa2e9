"""Several classes a row: from tables of text, through preparing, with what is wrong named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data import Chunk, Source, SplitReader
from potstill.data.augment import make_batch
from potstill.data.callable import CallableSpec
from potstill.data.dataset import Dataset, prepare, text_of
from potstill.data.text import TextSpec
from potstill.testing import tiny

LABELS: list[Any] = [["a"], ["a", "b"], [], None, ["c"], ["b", "c"]]


def rows(num: int = 60) -> list[dict[str, Any]]:
    return [{"text": f"request number {i}", "label": LABELS[i % len(LABELS)]} for i in range(num)]


def written(folder: Path, found: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def opened(spec: Any, folder: Path) -> Dataset:
    out = folder / "out"
    out.mkdir()
    prepare(spec, out, Progress("quiet"))
    return Dataset.open(out)


def test_lists_of_names_become_flags_and_hidden_rows_are_unknown(tmp_path: Path) -> None:
    found = opened(TextSpec(train=written(tmp_path, rows()), several=True, labelled=20), tmp_path)
    assert found.classes == ["a", "b", "c"] and found.target_shape == (3,)
    split = found.splits["train"]
    assert split.targets is not None
    for i in range(len(split)):
        number = int(text_of(split.samples[i]).split()[-1])
        own = LABELS[number % len(LABELS)]
        assert split.labels[i] == (-1 if own is None else 0)
        assert split.targets[i].tolist() == [float(own is not None and k in own) for k in "abc"]
    everything = np.arange(len(split))
    batch = make_batch(split, everything, 0, (), 0)
    assert batch.targets_BX is not None
    unknown = batch.targets_BX.isnan().all(dim=1).numpy()
    assert np.array_equal(unknown, np.asarray(split.labelled) == 0) and unknown.any() and not unknown.all()


def test_names_with_a_semicolon_between(tmp_path: Path) -> None:
    lines = ["text,label"] + [f'"number {i}","{";".join(LABELS[i % 6] or ["b"])}"' for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    assert opened(TextSpec(train=tmp_path / "rows.csv", several=True), tmp_path).classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["a", "z"], r"rows.jsonl (row|line) 3.*classes that the training rows have; got 'z'"),
        ([1], r"must be a list of names, or names with a semicolon between; got \[1\]"),
        ({"a": 1}, "must be a list of names"),
    ],
    ids=["unknown", "numbers", "mapping"],
)
def test_wrong_labels_name_their_row(tmp_path: Path, label: Any, message: str) -> None:
    found = rows()
    found[2]["label"] = label
    with pytest.raises(DataError, match=message):
        opened(TextSpec(train=written(tmp_path, found), several=True, classes=("a", "b", "c")), tmp_path)


def other(flags: Any) -> Source:
    samples = tiny.samples("text", 40)
    chunk = Chunk(
        samples, np.zeros(40, np.int64), [f"row {i}" for i in range(40)], targets=np.asarray(flags, np.float32)
    )
    return Source({"train": SplitReader(40, lambda: iter([chunk]))}, samples.shape[1:], ["a", "b"], "text", None, (2,))


SOURCES: dict[str, Any] = {
    "half": np.tile([[0.5, 1.0], [0.0, 0.0]], (20, 1)), "none": np.tile([[1.0, 0.0], [0.0, 0.0]], (20, 1)),
    "all": np.tile([[1.0, 1.0], [0.0, 1.0]], (20, 1)),
}  # fmt: skip


def half() -> Source:
    return other(SOURCES["half"])


def none() -> Source:
    return other(SOURCES["none"])


def everyone() -> Source:
    return other(SOURCES["all"])


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("half", "row 0: targets must be 0 or 1, one a class; got something else"),
        ("none", r"'b' is one of 0 of 40 rows"),
        ("everyone", r"'b' is one of 40 of 40 rows"),
    ],
)
def test_flags_that_teach_nothing_are_refused(tmp_path: Path, factory: str, message: str) -> None:
    spec = CallableSpec(factory=f"{__name__}:{factory}", samples="text")
    with pytest.raises(DataError, match=message):
        opened(spec, tmp_path)
