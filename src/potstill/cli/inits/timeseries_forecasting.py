"""A recipe for forecasts of a table over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.cli._section import yaml_of
from potstill.cli.inits import _tables as tables

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {horizon} steps ahead of {variables}, {rows} windows to learn from

task: {{kind: timeseries-forecasting}}

data:
  kind: forecast
  path: {path}
{time}  values: {values}
  lookback: {lookback}            # steps that the models see
  horizon: {horizon}              # steps that they forecast
  # lengths: [8640, 2880, 2880]   # rows of train, validation and test; without it 70, 10 and 20 % in order of time

# Two kinds of forecaster, trained here; their mean teaches.
teacher:
  kind: ensemble
  members:
    - kind: train
      model: {{kind: forecast-linear, parts: trend-and-rest}}
      training: {{epochs: 10, batch_size: 64, learning_rate: 0.005}}
    - kind: train
      model: {{kind: forecast-mlp, hidden: 64}}
      training: {{epochs: 10, batch_size: 64, learning_rate: 0.002}}
    # - kind: train         # slower, and on some data better
    #   model: {{kind: patch-transformer}}
    #   training: {{epochs: 5, batch_size: 64, learning_rate: 0.001}}

student: {{kind: forecast-mlp, hidden: 16, dropout: 0.0}}

steps:
  - kind: distill
    objectives:
      - {{kind: soft-target-regression, weight: 0.8, delta: 10.0}}
      - {{kind: hard-target, weight: 0.2}}
    training: {{epochs: 10, batch_size: 64, learning_rate: 0.005}}

controls: [hard-label]     # the same student on the true values alone
seeds: 3                   # trainings of each, for the interval
"""


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (the recipe's text, what was found).

    Raises:
        PotstillError: no table, or too few rows to forecast anything.
    """
    from potstill.core.errors import PotstillError
    from potstill.data._columns import Table
    from potstill.data.forecast import ForecastSpec

    table = Table(data)
    time = tables.likely(table.names, tables.TIME)
    values = tables.numbers(table, [time])
    if not values:
        raise PotstillError(f"--data {data}: must have columns of numbers; it has: {', '.join(table.names[:20])}.")
    num = sum(len(batch[values[0]]) for batch in table.batches(values[:1]))
    # Validation is a tenth of the rows: a horizon must fit into it, and a lookback of a few horizons into training.
    horizon = min(96, num // 40)
    if horizon < 1:
        raise PotstillError(
            f"--data {data}: must have at least 40 rows, in order of time, to learn and to test; got {num}."
        )
    lookback = max(2, min(336, horizon * 7 // 2))
    fields: dict[str, Any] = {"time": time, "values": tuple(values), "lookback": lookback, "horizon": horizon}
    rows = ForecastSpec(path=data, **fields).open().splits["train"].num_rows
    text = _TEMPLATE.format(
        name=yaml_of(name), horizon=horizon, variables="1 variable" if len(values) == 1 else f"{len(values)} variables",
        rows=rows, path=yaml_of(shown), time=f"  time: {yaml_of(time)}\n" if time else "", values=yaml_of(values), lookback=lookback,
    )  # fmt: skip
    when = f", steps by {time}" if time else ", steps in the order of the file"
    return (
        text,
        f"Found {len(values)} variables: {', '.join(values[:8])}\n      {num} steps{when}; {rows} windows to learn from",
    )
