"""A recipe for windows of series with a class each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.cli._section import yaml_of
from potstill.cli.inits import _tables as tables
from potstill.core.errors import PotstillError

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {classes} classes of windows, {rows} windows to learn from

task: {{kind: timeseries-classification}}

data:
{data}
augment:                   # the same for teacher and student
  - {{kind: series-jitter, sigma: 0.05}}
  - {{kind: series-shift, steps: {shift}}}

# Trained here, on your windows. One that knows more teaches more: kind: torch is your module, kind: onnx any file.
teacher:
  kind: train
  model: {{kind: ds-cnn-1d, width: 32, depth: 4, downsample: {downsample}, stem_stride: {stride}, dropout: 0.2}}
  training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.003}}

labels:
  views: 4                 # augmented versions of each window that the teacher labels
  codec: {{kind: float16}}

student:
  kind: ds-cnn-1d          # depthwise separable: runs on microcontrollers too; tcn and gru are others
  width: 12
  depth: 3
  downsample: {downsample}
  stem_stride: {stride}
  # input: {{kind: series, by_window: all}}   # if level and size differ from sensor to sensor and mean nothing

steps:
  - kind: distill
    objectives:
      - {{kind: soft-label, temperature: 1.0, weight: 0.9}}
      - {{kind: hard-label, weight: 0.1}}
    training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.005}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (the recipe's text, what was found).

    Raises:
        PotstillError: no table, or it is not plain which column is what.
    """
    from potstill.data._columns import Table
    from potstill.data.series import SeriesSpec

    table = Table(data)
    found = columns(table)
    source = SeriesSpec(path=data, **found).open()
    steps, variables = source.shape
    rows, classes = source.splits["train"].num_rows, source.classes or []
    lines = ["kind: series", f"path: {yaml_of(shown)}", *(f"{k}: {yaml_of(v)}" for k, v in found.items())]
    lines += [
        f"{split}: {share}" for split, share in (("validation", 0.1), ("test", 0.2)) if split not in source.splits
    ]
    if "group" not in found:
        lines.append("# group: person         # if several windows are of one person or machine: name its column")
    text = _TEMPLATE.format(
        name=yaml_of(name), classes=len(classes), rows=rows, data="".join(f"  {line}\n" for line in lines),
        shift=max(1, steps // 20), downsample=2 if steps >= 32 else 1 if steps >= 8 else 0,
        stride=4 if steps >= 512 else 2 if steps >= 128 else 1,
        epochs=60 if rows < 2000 else 30 if rows < 10_000 else 12, batch=16 if rows < 500 else 64,
    )  # fmt: skip
    names = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    variety = "1 variable" if variables == 1 else f"{variables} variables"
    whole = f", whole {found['group']} groups on one side of every split" if "group" in found else ""
    return text, f"Found {len(classes)} classes: {names}\n      {rows} windows of {steps} steps, {variety}{whole}"


def columns(table: Any) -> dict[str, Any]:
    """Return the fields of a `series` source that a table's columns say."""
    names = table.names
    label = tables.needed(table, tables.LABEL, "labels")
    found: dict[str, Any] = {"label": label}
    for field, usual in (("group", tables.GROUP), ("weight", tables.WEIGHT), ("split", tables.SPLIT)):
        column = tables.likely(names, usual)
        if column is not None and column != label:
            found[field] = column
    lists = [n for n in names if table.is_list(n)]
    if lists:
        return {"values": tuple(lists) if len(lists) > 1 else lists[0], **found}
    window = tables.likely(names, tables.WINDOW)
    values = tables.numbers(table, [*found.values(), window, *(n for n in names if n.lower() in tables.TIME)])
    if not values:
        raise PotstillError(
            f"--data {table.path}: must have columns of numbers, or of lists of numbers; it has: {', '.join(names[:20])}."
        )
    if window is not None and len(values) < 32:
        found["window"] = window
    return {"values": tuple(values) if len(values) > 1 else values[0], **found}
