"""LiteRT (TensorFlow Lite): .tflite files, on the CPU by its default kernels (XNNPACK). Shapes: B rows, X the shape of one input, Y of
one output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.extras import require
from potstill.core.runtimes._base import codes_of, read_file, row_by_row

MARK = "potstill: "
"""Opens the description of a file that we wrote; a second line, JSON, has mean and std of what the host is to normalise by."""


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured."""
    require("ai_edge_litert.interpreter", "runtimes", "LiteRT")


def opened(path: Path, threads: int = 1) -> LiteRTSession:
    """Return a .tflite file as what it is; raises as `LiteRTSession`."""
    return LiteRTSession(path, threads)


class LiteRTSession:
    """A model with one input and one output, run row by row; codes of integers are made of numbers and made numbers again here, and
    numbers are normalised before where the file says that it reads them so.

    Args:
        path: of the file.
        threads: of one operator.

    Raises:
        PotstillError: not a .tflite file that can be run.
        MissingExtraError: LiteRT is not installed.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        data = read_file(path, "a .tflite file")
        if data[4:8] != b"TFL3":
            raise PotstillError(f"{path}: must be a .tflite file; got one without its mark 'TFL3'.")
        lite = require("ai_edge_litert.interpreter", "runtimes", f"{path}")
        self.path = path
        self.metadata, self._normalise = _description(path, data)
        self._model = lite.Interpreter(model_path=str(path), num_threads=threads)
        self._model.allocate_tensors()
        inputs, outputs = self._model.get_input_details(), self._model.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise PotstillError(
                f"{path}: must have one input and one output; got {len(inputs)} inputs and {len(outputs)} outputs."
            )
        self._input, self._output = inputs[0], outputs[0]
        coded = self._input["dtype"] in (np.int8, np.uint8) and self._input["quantization"][0] > 0
        self.input_dtype: Any = np.float32 if coded else self._input["dtype"]
        self._codes = self._input["quantization"] if coded else None
        self.input_shape = tuple(int(d) for d in self._input["shape"])
        ends = {"inputs": _told(self._input), "outputs": _told(self._output), "host": self._host()}
        self.signature = {name: found for name, found in ends.items() if found is not None}
        if self._normalise is not None and self.input_shape[1:2] != (len(self._normalise["mean"]),):
            raise PotstillError(f"{path}: its description must normalise each channel of {list(self.input_shape)}; got "
                                f"{len(self._normalise['mean'])} means. Export it again.")  # fmt: skip

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32."""
        return row_by_row(self._run, inputs_BX)

    def _host(self) -> dict[str, Any] | None:
        return None if self._normalise is None else {"do": "normalise", **self._normalise}

    def _run(self, row_1X: NDArray[Any]) -> NDArray[Any]:
        if row_1X.shape[1:] != self.input_shape[1:]:
            raise PotstillError(f"input must be {list(self.input_shape[1:])} a row; got {list(row_1X.shape[1:])}")
        if self._normalise is not None:
            wide = (1, -1, *[1] * (row_1X.ndim - 2))
            mean, std = (np.array(self._normalise[name], np.float32).reshape(wide) for name in ("mean", "std"))
            row_1X = (row_1X - mean) / std
        if self._codes is not None:
            scale, zero = self._codes
            row_1X = codes_of(row_1X, scale, zero, self._input["dtype"])
        self._model.set_tensor(self._input["index"], row_1X)
        self._model.invoke()
        out: NDArray[Any] = self._model.get_tensor(self._output["index"])
        scale, zero = self._output["quantization"]
        if np.issubdtype(out.dtype, np.integer) and scale > 0:
            return (out.astype(np.float32) - np.float32(zero)) * np.float32(scale)
        return out.astype(np.float32)


def _told(end: dict[str, Any]) -> dict[str, Any] | None:
    """Return type, scale and zero point of an input or output of codes."""
    scale, zero = end["quantization"]
    if not np.issubdtype(end["dtype"], np.integer) or scale <= 0:
        return None
    return {"dtype": np.dtype(end["dtype"]).name, "scale": float(scale), "zero_point": int(zero)}


def _description(path: Path, data: bytes) -> tuple[dict[str, str], dict[str, list[float]] | None]:
    """Return (what the file says of itself, mean and std of what the host is to normalise by), where we wrote it."""
    schema = require("ai_edge_litert.schema_py_generated", "runtimes", "LiteRT")
    said = schema.Model.GetRootAs(data, 0).Description() or b""
    text, _, numbers = said.decode(errors="replace").partition("\n")
    if not text.startswith(MARK):
        return {}, None
    if not numbers:
        return {"potstill": text.removeprefix(MARK)}, None
    try:
        found = {name: [float(v) for v in json.loads(numbers)[name]] for name in ("mean", "std")}
        if len(found["mean"]) != len(found["std"]) or not np.isfinite(found["mean"]).all() or not min(found["std"]) > 0:
            raise ValueError("numbers that cannot be")
    except (ValueError, TypeError, KeyError) as err:
        raise PotstillError(f"{path}: its description must have mean and std of each channel; got {numbers[:200]!r} ({err}). Export it "
                            "again.") from err  # fmt: skip
    return {"potstill": text.removeprefix(MARK)}, found
