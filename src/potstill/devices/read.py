"""A model file, whatever its format, as what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from potstill.core.errors import DeviceError
from potstill.devices.cost import Cost
from potstill.devices.graph import cost_of

READABLE = (".onnx", ".tflite")
"""Suffixes of files whose graph can be read."""


def read_cost(path: Path, dims: Mapping[str, int] | None = None) -> Cost:
    """Return the cost of a model file, ours or anybody's; nothing in it is run.

    Args:
        path: .onnx or .tflite.
        dims: sizes of the file's open dimensions by name, such as {"length": 64}; that of the batch is 1.

    Raises:
        DeviceError: no such file, not a model, or one that cannot be counted; says what.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise DeviceError(f"{path}: must be a .onnx or .tflite file; got {suffix or 'no suffix'!r}.")
    try:
        data = path.read_bytes()
    except OSError as err:
        raise DeviceError(f"{path}: must be a model file that can be read; got {err.strerror}.") from err
    if suffix == ".onnx":
        from potstill.devices.onnx_graph import read_onnx as read
    else:
        from potstill.devices.tflite_graph import read_tflite as read
    return cost_of(read(data, str(path), dict(dims or {})), path.name)
