"""Windows cut from a table over time: whose values they are, on which side, and every fault that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.dataset import Dataset, prepare
from potstill.data.forecast import ForecastSpec

N, LOOK, HORIZON = 200, 10, 4
LENGTHS = (100, 40, 50)
RNG = np.random.default_rng(0)
VALUES = np.cumsum(RNG.normal(size=(N, 3)), axis=0) * [1, 10, 0.1] + [5, -30, 0]
TIMES = (np.datetime64("2020-02-28T20:00") + np.arange(N) * np.timedelta64(1, "h")).astype(str)


def written(folder: Path, values: np.ndarray = VALUES, times: Any = TIMES, name: str = "a.csv") -> Path:
    path = folder / name
    lines = [
        f"{t.replace('T', ' ')}:00,{','.join(map(repr, map(float, row)))}" for t, row in zip(times, values, strict=True)
    ]
    path.write_text("date,a,b,c\n" + "\n".join(lines) + "\n")
    return path


def made(folder: Path, **fields: Any) -> Dataset:
    out = folder / "prepared"
    out.mkdir()
    given = {
        "path": folder / "a.csv",
        "lookback": LOOK,
        "horizon": HORIZON,
        "time": "date",
        "lengths": LENGTHS,
        **fields,
    }
    prepare(ForecastSpec(**given), out, Progress("quiet"))
    return Dataset.open(out)


@pytest.mark.parametrize("standardise", [True, False])
def test_every_window_is_where_it_should_be(standardise: bool, tmp_path: Path) -> None:
    written(tmp_path)
    dataset = made(tmp_path, standardise=standardise)
    train = VALUES[:100]
    values = (VALUES - train.mean(axis=0)) / train.std(axis=0) if standardise else VALUES
    first = {"train": 10, "validation": 100, "test": 140}
    for split, start in first.items():
        found = dataset.splits[split]
        length = LENGTHS[list(first).index(split)]
        assert len(found) == length - HORIZON + 1 - (LOOK if split == "train" else 0)
        for i in (0, 1, len(found) - 1):
            at = start + i
            np.testing.assert_allclose(found.samples[i], values[at - LOOK : at], rtol=1e-5, atol=1e-5)
            assert found.targets is not None
            np.testing.assert_allclose(found.targets[i], values[at : at + HORIZON], rtol=1e-5, atol=1e-5)
    assert (dataset.kind, dataset.shape, dataset.target_shape) == ("series", (LOOK, 3), (HORIZON, 3))
    assert dataset.classes == ["a", "b", "c"]


def test_no_training_target_reaches_into_later_splits(tmp_path: Path) -> None:
    written(tmp_path)
    before = made(tmp_path).splits["train"]
    changed = VALUES.copy()
    changed[100:] = RNG.normal(size=(100, 3)) * 1000
    (tmp_path / "two").mkdir()
    written(tmp_path / "two", changed)
    after = made(tmp_path / "two").splits["train"]
    assert before.targets is not None and after.targets is not None
    np.testing.assert_array_equal(before.samples, after.samples)
    np.testing.assert_array_equal(before.targets, after.targets)


def test_columns_strides_and_shares(tmp_path: Path) -> None:
    written(tmp_path)
    dataset = made(tmp_path, values=("c", "a"), targets=("a",), stride=5, lengths=None)
    assert dataset.shape == (LOOK, 2) and dataset.target_shape == (HORIZON, 1) and dataset.classes == ["a"]
    assert [len(dataset.splits[s]) for s in ("train", "validation", "test")] == [26, 17, 37]
    targets = dataset.splits["train"].targets
    assert targets is not None
    np.testing.assert_allclose(
        targets[1, :, 0], (VALUES[15:19, 0] - VALUES[:140, 0].mean()) / VALUES[:140, 0].std(), rtol=1e-4, atol=1e-5
    )


def test_a_fault_names_the_line(tmp_path: Path) -> None:
    def refuses(text: str, **fields: Any) -> None:
        for old in tmp_path.glob("prepared*"):
            old.rmdir()
        with pytest.raises(DataError, match=text):
            made(tmp_path, **fields)

    holes = VALUES.copy()
    holes[30, 1] = np.nan
    written(tmp_path, holes)
    refuses("a.csv line 32: b must be a finite number; got nan. Fill the gap first")
    written(tmp_path, np.delete(VALUES, 50, axis=0), np.delete(TIMES, 50))
    refuses(r"a.csv line 52: date must rise in equal steps; got .* after .* \(1 such places\)")
    written(tmp_path, VALUES, TIMES[::-1])
    refuses("a.csv line 3: date must rise in equal steps")
    still = VALUES.copy()
    still[:110, 2] = 7
    written(tmp_path, still)
    refuses("c must vary in the training rows; it is 7")
    written(tmp_path)
    refuses("must have a column 'tiem', for data.time", time="tiem")
    refuses("must have a column 'd', for data.values", values=("a", "d"))
    refuses("data.targets: must be among the values", values=("a",), targets=("b",))
    refuses("a.csv: data.lengths must add up to at most the file's 200 rows", lengths=(150, 30, 30))
    refuses("lookback . horizon = 104 rows", lookback=100)
    refuses("date must be times such as", time="date") if written(tmp_path, times=["x"] * N) is None else None


def test_shares_of_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="rows are split by time, in lengths"):
        ForecastSpec(path=written(tmp_path), lookback=4, horizon=2, test=0.3)
