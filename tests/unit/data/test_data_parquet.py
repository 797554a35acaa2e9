"""Parquet as it is published: other column names, shards, categories, labels that are no labels."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.dataset import Dataset, prepare
from potstill.data.parquet import ParquetSpec, find_columns

RNG = np.random.default_rng(0)


def png(height: int = 6, width: int = 6, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, labels: Any, pictures: list[bytes] | None = None, **columns: Any) -> Path:
    """Write pictures (struct of bytes and path) and labels."""
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": data, "path": None} for data in pictures or [png() for _ in range(len(labels))]]
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": labels, **columns}), path, row_group_size=10)
    return path


def renamed(path: Path, *names: str) -> Path:
    pq.write_table(pq.read_table(path).rename_columns(list(names)), path)
    return path


def labels_of(spec: ParquetSpec) -> list[int]:
    return [int(v) for chunk in spec.open().splits["train"].chunks() for v in chunk.labels]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("image", "label"), ("image", "label")),
        (("img", "fine_label"), ("img", "fine_label")),
        (("Picture", "Class"), ("Picture", "Class")),
        (("image", "Label", "other"), ("image", "Label")),
        (("x", "species"), ("x", "species")),
    ],
)
def test_columns_are_found_by_name_or_type(tmp_path: Path, names: tuple[str, ...], found: tuple[str, str]) -> None:
    more = {"more": range(8)} if len(names) > 2 else {}
    path = renamed(write(tmp_path / "a.parquet", ["cat", "dog"] * 4, **more), *names)
    assert find_columns(path) == found
    assert ParquetSpec(train=path, image_column=found[0], label_column=found[1]).open().classes == ["cat", "dog"]


def test_plain_bytes_are_pictures_too_and_a_usual_name_decides(tmp_path: Path) -> None:
    table = pa.table({"id": range(4), "jpeg": pa.array([png()] * 4, pa.large_binary()), "target": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert find_columns(tmp_path / "a.parquet") == ("jpeg", "target")


def test_columns_that_are_not_plain_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [0, 1] * 4, other=pa.array(range(8)))
    renamed(path, "image", "fine", "coarse")
    with pytest.raises(
        DataError, match=r"column of labels .*it has: image \(struct\), fine \(int64\), coarse \(int64\)"
    ):
        find_columns(path)
    pq.write_table(pa.table({"a": [1.5], "b": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"column of encoded pictures .*a \(double\), b \(string\)"):
        find_columns(tmp_path / "b.parquet")


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    first = write(tmp_path / "train-0.parquet", ["b", "c"] * 6)
    second = write(tmp_path / "train-1.parquet", ["a", "b"] * 6)
    spec = ParquetSpec(train=(first, second))
    assert spec.open().classes == ["a", "b", "c"], "names of every shard"
    assert spec.open().splits["train"].num_rows == 24
    assert labels_of(spec) == [1, 2] * 6 + [0, 1] * 6
    names = [name for chunk in spec.open().splits["train"].chunks() for name in chunk.names]
    assert names[0] == "train-0.parquet row 0" and names[-1] == "train-1.parquet row 11"
    assert spec.identity(lambda path: path.name)["train"] == [{"content": first.name}, {"content": second.name}]


def test_categories_and_numbers_give_classes_before_anything_is_decoded(tmp_path: Path) -> None:
    text = write(tmp_path / "a.parquet", pa.array(["dog", "cat", None] * 4).dictionary_encode())
    assert ParquetSpec(train=text).open().classes == ["cat", "dog"]
    assert labels_of(ParquetSpec(train=text)) == [1, 0, -1] * 4
    numbers = write(tmp_path / "b.parquet", pa.array([0, 2, None, 1] * 3))
    assert ParquetSpec(train=numbers).open().classes == ["0", "1", "2"]


def test_hugging_face_names_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [0, 1] * 4)
    for names, wanted in ((["emu", "gnu"], ["emu", "gnu"]), ("emu", ["0", "1"]), ([1, 2], ["0", "1"])):
        meta = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
        pq.write_table(pq.read_table(path).replace_schema_metadata(meta), path)
        assert ParquetSpec(train=path).open().classes == wanted


@pytest.mark.parametrize("label", [float("nan"), float("inf"), 0.5, 1e300])
def test_a_number_that_is_no_label_is_named_with_its_row(tmp_path: Path, label: float) -> None:
    path = write(tmp_path / "a.parquet", pa.array([0.0, 1.0, label, 0.0] * 3, pa.float64()))
    with pytest.raises(DataError, match=r"a\.parquet row 2: label|row 2: label must be"):
        prepare(ParquetSpec(train=path), tmp_path, Progress("quiet"))


def test_other_types_of_label_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.array([[1], [2]] * 4))
    with pytest.raises(DataError, match=r"row 0: label must be an int or a class name; got \[1\]"):
        labels_of(ParquetSpec(train=path))


def test_headers_come_from_all_over_the_file_and_grey_is_said(tmp_path: Path) -> None:
    pictures = [png(mode="L"), *[png() for _ in range(28)], png(5, 9)]
    path = write(tmp_path / "a.parquet", [0, 1] * 15, pictures)
    found = ParquetSpec(train=path).headers()
    assert (found.num, found.shape, found.num_grey, found.num_oblong) == (30, None, 1, 1)
    few = ParquetSpec(train=path).headers(most=6)
    assert few.num == 6 and few.num_grey == 1
    assert ParquetSpec(train=path).open().shape == (6, 6, 1), "as the first picture"
    assert ParquetSpec(train=path, grey=False, size=6).open().shape == (6, 6, 3)
    (tmp_path / "out").mkdir()
    prepare(ParquetSpec(train=path, grey=False, size=6), tmp_path / "out", Progress("quiet"))
    assert Dataset.open(tmp_path / "out").shape == (6, 6, 3)


def test_headers_name_the_row_that_is_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [0, 1] * 10, [*[png() for _ in range(19)], b"junk"])
    with pytest.raises(DataError, match=r"a\.parquet row 19: must be a picture"):
        ParquetSpec(train=path).headers()
