"""TensorFlow Lite Micro's interpreter on this machine, with the arithmetic of its kernels on a microcontroller. Shapes: B rows, I bytes of
all inputs of one, O of all outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.extras import require
from potstill.core.runtimes._base import read_file

MODULE = "tflite_micro.python.tflite_micro.runtime"
_ARENA = 64 << 20


def opened(path: Path, threads: int = 1) -> TFLMSession:
    """Return a .tflite file as what it is; raises as `TFLMSession`. There is one thread."""
    return TFLMSession(path)


class TFLMSession:
    """A model that is given and gives raw bytes: codes as they are, inputs one after the other.

    Args:
        path: of the file.

    Raises:
        PotstillError: no .tflite file that the interpreter takes.
        MissingExtraError: it is not installed.
    """

    def __init__(self, path: Path) -> None:
        data = read_file(path, "a .tflite file")
        if data[4:8] != b"TFL3":
            raise PotstillError(f"{path}: must be a .tflite file; got one without its mark 'TFL3'.")
        self._model: Any = require(MODULE, "mcu", "TensorFlow Lite Micro").Interpreter.from_bytes(
            data, arena_size=_ARENA
        )
        schema = require(
            "tflite_micro.tensorflow.lite.micro.python.schema_py_generated", "mcu", "TensorFlow Lite Micro"
        )
        graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)
        self._inputs = [self._model.get_input_details(i) for i in range(graph.InputsLength())]
        self._num_outputs = graph.OutputsLength()
        self._bytes = [int(np.prod(d["shape"])) * np.dtype(d["dtype"]).itemsize for d in self._inputs]
        self.input_dtype: Any = np.uint8
        self.input_shape: tuple[int | None, ...] = (None, sum(self._bytes))
        self.metadata: dict[str, str] = {}
        self.signature: dict[str, Any] = {}

    def __call__(self, inputs_BI: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return [B, O] uint8."""
        return np.stack([self._run(row) for row in inputs_BI])

    def _run(self, row_I: NDArray[np.uint8]) -> NDArray[np.uint8]:
        ends = np.cumsum(self._bytes)[:-1]
        for i, (part, detail) in enumerate(zip(np.split(row_I, ends), self._inputs, strict=True)):
            self._model.set_input(np.frombuffer(part.tobytes(), detail["dtype"]).reshape(detail["shape"]), i)
        self._model.invoke()
        found = [np.ascontiguousarray(self._model.get_output(i)).tobytes() for i in range(self._num_outputs)]
        return np.frombuffer(b"".join(found), np.uint8)
