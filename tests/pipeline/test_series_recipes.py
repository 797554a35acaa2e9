"""The recipes of series as they ship, at smoke settings: fewer rows, fewer epochs, one or two seeds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def smoke(tmp_path: Path, cli: Any, cache: Path, shared_data: Path) -> Run:
    """smoke("ecg", change) -> results.json of the shipped recipe, made cheaper by `change(recipe)`."""

    def run(name: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
        recipe |= {"seeds": 1, "verify": {"blocks": 5}}
        for part in (*recipe["teacher"]["members"], *recipe["steps"]):
            part["training"]["epochs"] = 2
        change(recipe)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        cli("run", path, "--out", tmp_path / "run", "--threads", 1, POTSTILL_DATA=str(shared_data))
        found: dict[str, Any] = json.loads((tmp_path / "run" / "results.json").read_text())
        page = (tmp_path / "run" / "report.html").read_text()
        found["page"], found["card"] = page, (tmp_path / "run" / "model_card.md").read_text()
        return found

    return run


def test_heart_beats(smoke: Run) -> None:
    def change(recipe: dict[str, Any]) -> None:
        recipe["data"]["limit"] = 4000
        recipe["labels"]["views"] = 1
        recipe["teacher"]["members"] = recipe["teacher"]["members"][:2]

    found = smoke("ecg", change)
    assert found["classes"] == ["N", "S", "V", "F", "Q"] and found["data"]["shape"] == [160, 3]
    assert found["data"]["rows"]["test"] == 20_208
    # Always N is right on 89.0 % of the weight.
    assert found["teacher"]["accuracy"]["value"] > 0.89
    assert sum(map(sum, found["student"]["confusion"])) == 20_208
    assert found["gains"][0]["detail"].startswith("One seed")
    drawn = [entry for entry in found["disagreements"] if "values" in entry]
    assert drawn and found["page"].count("<polyline") >= 3 * len(drawn)
    assert 'print(session.get_inputs()[0].shape)  # ["batch", variables, steps]' in found["card"]


def test_activities(smoke: Run) -> None:
    def change(recipe: dict[str, Any]) -> None:
        recipe["labels"]["views"] = 1
        recipe["teacher"]["members"] = recipe["teacher"]["members"][1:3]  # a convolutional and a recurrent one

    found = smoke("wharf", change)
    assert len(found["classes"]) == 10 and found["data"]["shape"] == [64, 3]
    assert found["data"]["rows"]["test"] == 3510
    assert found["teacher"]["accuracy"]["value"] > 0.35
    assert found["artifacts"][0]["accuracy_drop"] == pytest.approx(0, abs=2e-3)


def test_forecasts(smoke: Run) -> None:
    def change(recipe: dict[str, Any]) -> None:
        recipe["data"] |= {"lengths": [1600, 500, 500], "stride": 2}
        recipe["seeds"] = 2
        recipe["teacher"]["members"] = recipe["teacher"]["members"][:2]  # the Transformer takes minutes
        for part in (*recipe["teacher"]["members"], *recipe["steps"]):
            part["training"] |= {"epochs": 4, "batch_size": 16}

    found = smoke("etth1", change)
    assert found["data"]["target_shape"] == [96, 7] and found["data"]["rows"]["test"] == 500 - 96 + 1
    student = found["student"]
    assert student["mse"] == pytest.approx(1 - student["accuracy"]["value"]) and 0.2 < student["mse"] < 1
    assert len(student["mse_by_step"]) == 96 and len(student["per_variable"]) == 7
    assert "groups of test rows" in found["gains"][0]["detail"] or found["gains"][0]["more_seeds"]
    entry = found["forecasts"][0]
    assert len(entry["truth"]) == len(entry["teacher"]) == len(entry["student"]) == 96 and len(entry["past"]) == 192
    assert "Forecasts over truth" in found["page"] and "MSE" in found["page"] and "Accuracy" not in found["page"]
    artifact = found["artifacts"][0]
    assert artifact["parity"]["top1_agreement"] is None and artifact["accuracy_drop"] == pytest.approx(0, abs=1e-3)


def test_a_table_of_ones_own_from_init_to_report(tmp_path: Path, cli: Any, cache: Path) -> None:
    """What a new user does with a CSV of measurements."""
    import numpy as np

    steps = np.arange(600)
    values = np.stack([np.sin(steps / 5), np.cos(steps / 7)], axis=1) + np.random.default_rng(0).normal(
        0, 0.1, (600, 2)
    )
    times = (np.datetime64("2024-01-01T00") + steps * np.timedelta64(1, "h")).astype(str)
    (tmp_path / "load.csv").write_text(
        "time,a,b\n" + "".join(f"{t},{a},{b}\n" for t, (a, b) in zip(times, values, strict=True))
    )
    said = cli("init", "timeseries-forecasting", "--data", "load.csv").stdout
    assert "Found 2 variables: a, b" in said
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        recipe.read_text().replace("seeds: 3", "seeds: 1\nverify: {blocks: 5}").replace("epochs: 10", "epochs: 3")
    )
    cli("run", "recipe.yaml", "--threads", 1)
    results = json.loads((tmp_path / "runs" / "load" / "results.json").read_text())
    assert results["teacher"]["mse"] < 0.5
    measured = json.loads(cli("verify", "runs/load/student.onnx", "--data", "recipe.yaml", "--json").stdout)
    assert measured["mse"] == pytest.approx(results["student"]["mse"], rel=1e-4)
    assert measured["one_minus_mse"]["low"] == pytest.approx(results["artifacts"][0]["accuracy"]["low"], rel=1e-4)
    shutil.rmtree(tmp_path / "runs")
