"""Windows of series from CSV, parquet and npz, in every layout, and every fault that is named. Shapes: N windows, T steps, V
variables."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data._base import DataSpec
from potstill.data.dataset import Dataset, prepare
from potstill.data.series import SeriesSpec

N, T, V = 60, 8, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, V)).astype(np.float32)
LABELS = np.array(["walk", "rest", "run"])[np.arange(N) % 3]
PEOPLE = np.array([f"p{i // 6}" for i in range(N)])
WEIGHTS = np.where(LABELS == "walk", 3.0, 1.0)


def made(spec: DataSpec, folder: Path) -> Dataset:
    out = folder / "prepared"
    out.mkdir()
    prepare(spec, out, Progress("quiet"))
    return Dataset.open(out)


def rows(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return every row of all splits in the source's order."""
    parts = [dataset.splits[n] for n in ("train", "validation", "test")]
    order = np.argsort(np.concatenate([p.ids for p in parts]))
    names = [n for n in ("samples", "labels", "weights", "groups") if getattr(parts[0], n) is not None]
    return {n: np.concatenate([getattr(p, n) for p in parts])[order] for n in names}


def table(folder: Path, columns: dict[str, Any], name: str = "a.parquet") -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path, row_group_size=17)
    elif name.endswith(".npz"):
        np.savez(path, **columns)
    else:
        lines = [
            ",".join(columns),
            *(",".join("" if v is None else str(v) for v in r) for r in zip(*columns.values(), strict=True)),
        ]
        data = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def lists(values: np.ndarray) -> pa.Array:
    return pa.array(values.tolist(), pa.list_(pa.float32()))


ABOUT = {"label": LABELS, "person": PEOPLE, "weight": WEIGHTS}
LONG = {
    "window": np.repeat(np.arange(N) + 100, T), **{n: np.repeat(v, T) for n, v in ABOUT.items()},
    **{f"v{v}": X[:, :, v].ravel() for v in range(V)},
}  # fmt: skip
STEPS = {**ABOUT, **{f"t{t}_{v}": X[:, t, v] for t in range(T) for v in range(V)}}
LAYOUTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a list of all": ("a.parquet", {**ABOUT, "xyz": lists(X.reshape(N, -1))}, {"values": "xyz", "variables": V}),
    "a list a variable": ("b.parquet", {**ABOUT, **{f"v{v}": lists(X[:, :, v]) for v in range(V)}}, {"values": "v*"}),
    "a column a step": ("c.csv", STEPS, {"values": "t*", "variables": V}),
    "the same, packed": ("c.csv.gz", STEPS, {"values": "t*", "variables": V}),
    "a row a step": ("d.csv", LONG, {"values": ("v0", "v1", "v2"), "window": "window"}),
    "a row a step, parquet": ("d.parquet", LONG, {"values": "v*", "window": "window"}),
    "arrays": ("e.npz", {**ABOUT, "x": X}, {"values": "x", "variables": V}),
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_gives_the_same_windows(layout: str, tmp_path: Path) -> None:
    name, columns, fields = LAYOUTS[layout]
    spec = SeriesSpec(path=table(tmp_path, columns, name), label="label", group="person", weight="weight", **fields)
    dataset = made(spec, tmp_path)
    found = rows(dataset)
    assert (dataset.kind, dataset.shape, dataset.classes) == ("series", (T, V), ["rest", "run", "walk"])
    np.testing.assert_allclose(found["samples"], X, rtol=1e-6)
    assert [dataset.classes[k] for k in found["labels"]] == LABELS.tolist()
    assert found["weights"].tolist() == WEIGHTS.tolist()
    sides = [set(np.asarray(s.groups).tolist()) for s in dataset.splits.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    np.testing.assert_allclose(
        dataset.stats.mean, np.asarray(dataset.splits["train"].samples).mean(axis=(0, 1)), rtol=1e-4
    )


def test_constants_and_logarithms_of_ratios_are_variables(tmp_path: Path) -> None:
    before, after = RNG.uniform(300, 900, N), RNG.uniform(300, 900, N)
    path = table(tmp_path, {"x": lists(X[:, :, 0]), "label": LABELS, "before": before, "after": after})
    found = rows(made(SeriesSpec(path=path, values="x", label="label", constants=("before/after", "before")), tmp_path))
    assert found["samples"].shape == (N, T, 3)
    for t in range(T):
        np.testing.assert_allclose(found["samples"][:, t, 1], np.log(before / after), rtol=1e-5)
        np.testing.assert_allclose(found["samples"][:, t, 2], before, rtol=1e-6)


def test_splits_are_those_of_the_column_or_of_named_groups(tmp_path: Path) -> None:
    split = np.array(["train"] * 40 + ["val"] * 8 + ["Test"] * 12)
    path = table(tmp_path, {"x": lists(X[:, :, 0]), **ABOUT, "split": split})
    dataset = made(SeriesSpec(path=path, values="x", label="label", split="split"), tmp_path)
    assert {n: len(s) for n, s in dataset.splits.items()} == {"train": 40, "validation": 8, "test": 12}
    (tmp_path / "two").mkdir()
    spec = SeriesSpec(
        path=path, values="x", label="label", group="person", test_groups=("p3", "p9"), validation_groups=("p0",)
    )
    dataset = made(spec, tmp_path / "two")
    np.testing.assert_array_equal(dataset.splits["test"].samples[:, :, 0], X[np.isin(PEOPLE, ["p3", "p9"]), :, 0])
    np.testing.assert_array_equal(dataset.splits["validation"].samples[:, :, 0], X[PEOPLE == "p0", :, 0])


def test_labels_may_be_numbers_missing_or_left_out(tmp_path: Path) -> None:
    numbers = [None if i == 5 else i % 12 for i in range(N)]
    path = table(tmp_path, {"x": lists(X[:, :, 0]), "label": pa.array(numbers)})
    dataset = made(SeriesSpec(path=path, values="x", label="label"), tmp_path)
    assert dataset.classes == [str(k) for k in range(12)]
    assert rows(dataset)["labels"].tolist() == [-1 if k is None else k for k in numbers]
    path = table(tmp_path, {"x": lists(X[:, :, 0]), "label": LABELS}, "b.parquet")
    (tmp_path / "two").mkdir()
    spec = SeriesSpec(path=path, values="x", label="label", classes=("run", "walk"), unlisted="drop")
    found = rows(made(spec, tmp_path / "two"))
    np.testing.assert_array_equal(found["samples"][:, :, 0], X[LABELS != "rest", :, 0])
    assert found["labels"].tolist() == [["run", "walk"].index(n) for n in LABELS if n != "rest"]


def _with(column: str, row: int, value: Any) -> dict[str, Any]:
    changed = {k: list(v) for k, v in LONG.items()}
    changed[column][row] = value
    return changed


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (_with("v1", 3 * T + 2, "nan"), {}, "a.csv line 26: values must be finite; got NaN or Inf. Fill or drop the row"),
    (_with("v1", 3 * T + 2, None), {}, "a.csv line 26: values must be finite; got NaN or Inf"),
    (_with("v1", 3 * T + 2, "high"), {}, "got .*'high'"),
    (LONG, {"label": "lable"}, "must have a column 'lable', for data.label. Nearest: 'label'"),
    (LONG, {"values": ("v0", "w1")}, "must have a column 'w1', for data.values"),
    (LONG, {"values": "q*"}, r"some column must match data.values 'q\*'"),
    (LONG, {"group": "patient"}, "must have a column 'patient', for data.group"),
    (LONG, {"classes": ("run", "walk", "sit")}, "line 10: label must be one of data.classes; got 'rest' .20 such windows"),
    (_with("label", T + 3, "run"), {}, "a.csv line 13: label must be the same at every step of a window"),
    (_with("window", T + 3, 7), {}, "line 14: rows of one window must follow one another; this one's window was seen before"),
    ({k: list(v)[:-1] for k, v in LONG.items()}, {}, "line 474: windows must have one length; this one has 7 steps, most have 8"),
    ({k: [w for i, w in enumerate(v) if i != 20] for k, v in LONG.items()}, {}, "line 18: windows must have one length"),
    ({**LONG, "person": [None] * T + list(LONG["person"][T:])}, {"group": "person"}, "a.csv line 2: person must name the group; got nothing"),
    (LONG, {"group": "person", "test_groups": ("p77",)}, "data.test_groups: must be groups of column 'person'; got 'p77'"),
    (_with("weight", 2 * T, 0), {"weight": "weight"}, "a.csv line 18: weight must be a finite number above 0"),
    ({**LONG, "side": ["train"] * (N * T - T) + ["tset"] * T}, {"split": "side"}, "line 474: side must be train, validation or test; "
     "got 'tset'"),
    ({**LONG, "r": [1.0] * (N * T - T) + [0.0] * T}, {"constants": ("weight/r",)}, "line 474: r must be above 0 for the ratio"),
    ({k: [] for k in LONG}, {}, "must have rows; got none"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "fields", "text"), FAULTS, ids=[f[2][:50] for f in FAULTS])
def test_a_fault_names_the_line(columns: dict[str, Any], fields: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = table(tmp_path, columns, "a.csv")
    given = {"values": "v*", "label": "label", "window": "window", **fields}
    with pytest.raises(DataError, match=text):
        made(SeriesSpec(path=path, **given), tmp_path)


def test_faults_of_lists_name_the_row(tmp_path: Path) -> None:
    ragged = X[:, :, 0].tolist()
    ragged[21] = ragged[21][:-1]
    path = table(tmp_path, {"x": pa.array(ragged), "label": LABELS})
    with pytest.raises(
        DataError, match=r"a.parquet row 21: x must be as long in every row; got 7 numbers, and 8 in row"
    ):
        made(SeriesSpec(path=path, values="x", label="label"), tmp_path)
    path = table(
        tmp_path, {"x": pa.array([None if i == 9 else r for i, r in enumerate(X[:, :, 0].tolist())]), "label": LABELS}
    )
    with pytest.raises(DataError, match=r"a.parquet row 9: x must hold a list of numbers; got nothing"):
        SeriesSpec(path=path, values="x", label="label").open().splits["train"].chunks().__next__()
    path = table(tmp_path, {"x": lists(X[:, :, 0]), "label": LABELS})
    with pytest.raises(DataError, match="8 values a row must be a multiple of the 3 variables"):
        SeriesSpec(path=path, values="x", label="label", variables=3).open()
    with pytest.raises(DataError, match="label must hold numbers"):
        SeriesSpec(path=path, values=("label",), label="label").open()


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    for name, data in (("a.parquet", b"PAR1 no"), ("a.npz", b"PK no"), ("a.csv", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="must be a whole"):
            SeriesSpec(path=tmp_path / name, values="x", label="label").open()
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match=r"must be one of .parquet, .csv, .csv.gz, .npz; got .xlsx"):
        SeriesSpec(path=tmp_path / "a.xlsx", values="x", label="label").open()


def test_fields_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, LONG, "a.csv")
    for fields, text in (
        ({"test_groups": ("p1",)}, "group must be given"),
        ({"group": "person", "test_groups": ("p1",), "validation_groups": ("p1",)}, "must not share a group"),
        ({"window": "window", "variables": 3}, "variables must be left out"),
        ({"unlisted": "drop"}, "classes must be given"),
    ):
        with pytest.raises(ValidationError, match=text):
            SeriesSpec(path=path, values="v*", label="label", **fields)  # type: ignore[arg-type]
