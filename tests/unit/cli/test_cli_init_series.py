"""`potstill init` on tables of series: the recipe it writes loads, and says what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.cli.init import write_recipe
from potstill.core.errors import PotstillError
from potstill.data.forecast import ForecastSpec
from potstill.data.series import SeriesSpec
from potstill.recipe.load import load
from potstill.recipe.model import Recipe

RNG = np.random.default_rng(0)
N, T = 60, 40


def init(task: str, data: Path) -> tuple[Recipe, str]:
    said = write_recipe(task, data, data.parent / "recipe.yaml", force=True)
    return load(data.parent / "recipe.yaml"), said


def test_windows_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "beats.parquet"
    columns = {
        "signal": pa.array(RNG.normal(size=(N, T)).tolist()), "label": [f"c{i % 3}" for i in range(N)],
        "Patient": [f"p{i // 10}" for i in range(N)], "weight": [1.0 + i % 2 for i in range(N)],
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    recipe, said = init("timeseries-classification", path)
    assert isinstance(recipe.data, SeriesSpec)
    assert (recipe.data.values, recipe.data.group, recipe.data.weight, recipe.data.split) == (
        "signal",
        "Patient",
        "weight",
        None,
    )
    assert "Found 3 classes: c0, c1, c2\n      60 windows of 40 steps, 1 variable, whole Patient groups" in said
    assert said.endswith(f"Wrote {tmp_path / 'recipe.yaml'}\nNext: potstill plan {tmp_path / 'recipe.yaml'}")


def test_a_step_a_row_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    rows = [f"{w},{t},{RNG.normal()},{RNG.normal()},{'ab'[w % 2]}" for w in range(30) for t in range(T)]
    path.write_text("window,time,x,y,activity\n" + "\n".join(rows) + "\n")
    recipe, said = init("timeseries-classification", path)
    assert isinstance(recipe.data, SeriesSpec)
    assert (recipe.data.values, recipe.data.window, recipe.data.label) == (("x", "y"), "window", "activity")
    assert "30 windows of 40 steps, 2 variables" in said


def test_a_column_a_step_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(
        "y," + ",".join(f"t{i}" for i in range(T)) + "\n"
        + "".join(f"{i % 2},{','.join(map(str, RNG.normal(size=T)))}\n" for i in range(N))
    )  # fmt: skip
    recipe, said = init("timeseries-classification", path)
    assert (
        isinstance(recipe.data, SeriesSpec)
        and recipe.data.label == "y"
        and "60 windows of 40 steps, 1 variable" in said
    )


def test_a_table_over_time(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    times = (np.datetime64("2024-01-01T00") + np.arange(400) * np.timedelta64(1, "h")).astype(str)
    path.write_text(
        "date,a,b,note\n"
        + "".join(f"{t}:00,{a},{b},x\n" for t, (a, b) in zip(times, RNG.normal(size=(400, 2)), strict=True))
    )
    recipe, said = init("timeseries-forecasting", path)
    assert isinstance(recipe.data, ForecastSpec)
    assert (recipe.data.time, recipe.data.values, recipe.data.horizon, recipe.data.lookback) == (
        "date",
        ("a", "b"),
        10,
        35,
    )
    assert "Found 2 variables: a, b\n      400 steps, steps by date" in said


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("kind,t0,t1\na,1,2\nb,2,1\n")
    with pytest.raises(PotstillError, match="must have a column for labels, named one of label"):
        init("timeseries-classification", path)
    path.write_text("label,name\na,x\nb,y\n")
    with pytest.raises(
        PotstillError, match="must have columns of numbers, or of lists of numbers; it has: label, name"
    ):
        init("timeseries-classification", path)
    path.write_text("date,v\n" + "".join(f"{i},{i * i}\n" for i in range(20)))
    with pytest.raises(PotstillError, match="must have at least 40 rows"):
        init("timeseries-forecasting", path)
    with pytest.raises(PotstillError, match=r"must be one of .parquet, .csv"):
        init("timeseries-forecasting", tmp_path)
