"""The values between a schedule's ends, and what a schedule refuses; its ends are in its contract."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from potstill.schedules import Scheduled, levels_of, lowest, registry, value_at
from potstill.schedules.training import TrainSpec

ADAPTER: TypeAdapter[Any] = TypeAdapter(Scheduled)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ({"kind": "linear", "start": 4, "end": 2}, {0: 4, 0.25: 3.5, 0.5: 3, 1: 2}),
        (
            {"kind": "linear", "start": 1, "end": 3, "begin": 0.2, "until": 0.6},
            {0: 1, 0.2: 1, 0.3: 1.5, 0.4: 2, 0.6: 3, 0.9: 3},
        ),
        ({"kind": "exponential", "start": 8, "end": 2}, {0: 8, 0.5: 4, 0.25: 8 / math.sqrt(2), 1: 2}),
        ({"kind": "exponential", "start": 1, "end": 16, "until": 0.5}, {0.125: 2, 0.25: 4, 0.5: 16, 1: 16}),
        ({"kind": "cosine", "start": 1, "end": 0}, {0: 1, 0.25: (1 + math.sqrt(0.5)) / 2, 0.5: 0.5, 2 / 3: 0.25, 1: 0}),
        ({"kind": "cosine", "start": 0, "end": 2, "begin": 0.5}, {0.5: 0, 0.75: 1, 1: 2}),
        ({"kind": "warm-up", "value": 3, "over": 0.5}, {0: 0, 0.25: 1.5, 0.5: 3, 1: 3}),
        (
            {"kind": "step", "values": [4, 2, 1], "boundaries": [0.5, 0.75]},
            {0: 4, 0.499: 4, 0.5: 2, 0.749: 2, 0.75: 1, 1: 1},
        ),
        ({"kind": "constant", "value": 7}, {0: 7, 0.3: 7, 1: 7}),
        (5, {0: 5, 1: 5}),
    ],
)
def test_values_by_hand(schedule: Any, values: dict[float, float]) -> None:
    spec = ADAPTER.validate_python(schedule)
    assert {p: value_at(spec, p) for p in values} == {p: pytest.approx(v, abs=1e-12) for p, v in values.items()}


@pytest.mark.parametrize(
    ("schedule", "levels", "least"),
    [
        (2.5, (2.5,), 2.5),
        ({"kind": "constant", "value": 2}, (2.0,), 2.0),
        ({"kind": "step", "values": [4, 1, 4, 2], "boundaries": [0.1, 0.2, 0.3]}, (4.0, 1.0, 2.0), 1.0),
        ({"kind": "step", "values": [4, 1, 4], "boundaries": [0.5001, 0.5002]}, (4.0, 1.0), 1.0),
        ({"kind": "linear", "start": 1, "end": -3}, None, -3.0),
        ({"kind": "warm-up", "value": 2}, None, 0.0),
        ({"kind": "linear", "start": 2, "end": 2}, None, 2.0),
    ],
)
def test_levels_and_the_lowest(schedule: Any, levels: tuple[float, ...] | None, least: float) -> None:
    spec = ADAPTER.validate_python(schedule)
    assert levels_of(spec) == levels and lowest(spec) == least


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "linear", "start": 1}, {"kind": "linear", "start": 1, "end": 2, "begin": 0.5, "until": 0.4},
        {"kind": "linear", "start": 1, "end": 2, "begin": -0.1}, {"kind": "linear", "start": 1, "end": 2, "until": 1.1},
        {"kind": "exponential", "start": 0, "end": 1}, {"kind": "exponential", "start": 1, "end": -1},
        {"kind": "step", "values": [1, 2], "boundaries": []}, {"kind": "step", "values": [1, 2], "boundaries": [1.0]},
        {"kind": "step", "values": [1, 2, 3], "boundaries": [0.5, 0.5]}, {"kind": "step", "values": [], "boundaries": []},
        {"kind": "step", "values": [1, 2, 3], "boundaries": [0.6, 0.5]}, {"kind": "warm-up", "value": 1, "over": 0},
        {"kind": "cosine", "start": 1, "end": math.inf}, {"kind": "constant"}, {"kind": "constant", "value": math.nan},
        {"kind": "no-such"}, {}, "high", None, [1],
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(schedule: Any) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(schedule)


def test_every_kind_is_tried_above() -> None:
    assert set(registry.kinds()) == {"constant", "cosine", "exponential", "linear", "step", "warm-up"}


@pytest.mark.parametrize(
    "fields",
    [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"weight_decay": -1}, {"momentum": 1}, {"warmup": 1}, {"ema": 0},
     {"ema": 1}, {"clip_norm": 0}, {"patience": 0}, {"evaluate_every": 0}, {"optimizer": "adam"}, {"precision": "float16"},
     {"keep": "first"}, {"lr_schedule": "step"}, {"epoch": 3}, {"epochs": 1.5}],
)  # fmt: skip
def test_training_is_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainSpec(**fields)
