"""Recipes of series: what does not fit together is said before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.core.errors import RecipeError
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_target import HardTargetSpec
from potstill.recipe.load import from_text
from potstill.stages._controls import objectives_of, supervised

RECIPE: dict[str, Any] = {
    "name": "f", "task": {"kind": "timeseries-forecasting"},
    "data": {"kind": "forecast", "path": "long.csv", "lookback": 8, "horizon": 4},
    "teacher": {"kind": "train", "model": {"kind": "forecast-linear"}}, "student": {"kind": "forecast-mlp"},
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-target-regression"}, {"kind": "hard-target"}]}],
}  # fmt: skip


def read(folder: Path, **changes: Any) -> Any:
    (folder / "long.csv").write_text("a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(200)))
    return from_text(yaml.safe_dump(RECIPE | changes), "recipe.yaml", folder)


def test_a_forecast_is_read_and_its_control_is_the_truth_alone(tmp_path: Path) -> None:
    assert read(tmp_path).controls == ("hard-label",)
    assert isinstance(supervised("values"), HardTargetSpec) and isinstance(supervised("classes"), HardLabelSpec)
    assert objectives_of("hard-label", "values") == (HardTargetSpec(),)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"controls": ["hard-label", "label-smoothing"]}, r"controls\[1\]: 'label-smoothing' is of classes, and a task of kind 'timeseries-forecasting' asks "
         "for values. Use hard-label"),
        ({"student": {"kind": "ds-cnn"}}, "student: 'ds-cnn' reads image, and the data gives series"),
        ({"task": {"kind": "timeseries-classification"}}, "'forecast-mlp' gives values, and the task asks for classes. Use one of: .*ds-cnn-1d"),
        ({"task": {"kind": "image-classification"}}, "is about image, and data of kind 'forecast' gives series. Use one of: .*timeseries-classification, "
         "timeseries-forecasting"),
        ({"augment": [{"kind": "flip"}]}, "'flip' changes image, and the data gives series"),
        ({"steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}]}, "'soft-label' teaches classes.*Use one of: .*hard-target"),
        ({"steps": [{"kind": "distill", "objectives": "auto"}]}, "auto chooses among losses on classes.*asks for values. State objectives"),
    ],
    ids=lambda v: "" if isinstance(v, dict) else v[:40],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=text):
        read(tmp_path, **changes)
