"""A model file, whatever its format, as what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from potstill.core.errors import DeviceError, ExportError
from potstill.devices.cost import Cost
from potstill.devices.graph import cost_of
from potstill.mcu.estimate import estimate
from potstill.mcu.export import SOURCE

READABLE = (".onnx", ".tflite", ".c")
"""Suffixes of files whose graph can be read: of generated C, that of the .tflite file beside it."""


def read_cost(path: Path, dims: Mapping[str, int] | None = None) -> Cost:
    """Return the cost of a model file, ours or anybody's; nothing in it is run.

    Args:
        path: .onnx, .tflite, or the model.c of generated C.
        dims: sizes of the file's open dimensions by name, such as {"length": 64}; that of the batch is 1.

    Raises:
        DeviceError: no such file, not a model, or one that cannot be counted; says what.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise DeviceError(f"{path}: must be a .onnx or .tflite file, or generated C; got {suffix or 'no suffix'!r}.")
    source = path.with_name(SOURCE) if suffix == ".c" else path
    try:
        data = source.read_bytes()
    except OSError as err:
        raise DeviceError(f"{source}: must be a model file that can be read; got {err.strerror}.") from err
    if suffix == ".onnx":
        from potstill.devices.onnx_graph import read_onnx as read
    else:
        from potstill.devices.tflite_graph import read_tflite as read
    cost = cost_of(read(data, str(source), dict(dims or {})), path.name)
    if suffix == ".onnx":
        return cost
    try:
        return replace(cost, generated=estimate(data, path.name))
    except ExportError as err:
        return replace(cost, generated=str(err))
