"""Generated C on this machine: a folder's model.c, built with its compiler as a library. It is a program: only a child process opens one (see
`core.child`). Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.generated import FLAGS, by_host, compiler, report_of
from potstill.core.runtimes._base import codes_of, row_by_row


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured: there is none."""


def opened(path: Path, threads: int = 1) -> CSession:
    """Return a generated model as what it is; raises as `CSession`. There is one thread."""
    return CSession(path)


class CSession:
    """A model with one input and one output, run row by row; codes are made of numbers and made numbers again here, and spectrograms of
    sounds where its report leaves them to the host.

    Args:
        path: of its model.c; what it needs lies beside it.

    Raises:
        PotstillError: no generated folder, or it does not compile.
        MissingExtraError: there is no compiler.
    """

    def __init__(self, path: Path) -> None:
        report = report_of(path.parent)
        if len(report["inputs"]) != 1 or len(report["outputs"]) != 1:
            raise PotstillError(
                f"{path}: must have one input and one output; got {len(report['inputs'])} and {len(report['outputs'])}."
            )
        (self._input,), (self._output,) = report["inputs"], report["outputs"]
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "model.so"
            sources = [str(path.parent / name) for name in report["sources"]]
            done = subprocess.run([compiler(), *FLAGS, "-shared", "-fPIC", f"-I{path.parent}", *sources, "-lm", "-o", str(library)],
                                  capture_output=True, check=False)  # fmt: skip
            if done.returncode:
                raise PotstillError(f"{path}: must compile; got {done.stderr.decode(errors='replace')[:300]}")
            self._model = ctypes.CDLL(str(library))
        self._model.model_input.restype = self._model.model_output.restype = ctypes.c_void_p
        self.input_dtype: Any = np.float32
        host = report.get("host")
        self._prepared = by_host(host)
        self.input_shape = tuple(self._input["shape"]) if host is None else (1, *host["takes"])
        self.metadata: dict[str, str] = {"potstill": report["samples"]} if report.get("samples") else {}
        ends = {
            "inputs": _coded(self._input),
            "outputs": _coded(self._output),
            "host": host,
        }
        self.signature: dict[str, Any] = {name: found for name, found in ends.items() if found is not None}

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32."""
        return row_by_row(self._run, inputs_BX)

    def _run(self, row_1X: NDArray[Any]) -> NDArray[Any]:
        if row_1X.shape[1:] != self.input_shape[1:]:
            raise PotstillError(f"input must be {list(self.input_shape[1:])} a row; got {list(row_1X.shape[1:])}")
        row_1X = self._prepared(row_1X)
        scale = self._input["scale"]
        given = row_1X if scale is None else codes_of(row_1X, scale, self._input["zero_point"], np.dtype("int8"))
        raw = np.ascontiguousarray(given, self._input["dtype"]).tobytes()
        ctypes.memmove(self._model.model_input(0), raw, len(raw))
        self._model.model_invoke()
        found = ctypes.string_at(self._model.model_output(0), self._output["bytes"])
        out = np.frombuffer(found, self._output["dtype"]).reshape(self._output["shape"]).astype(np.float32)
        if self._output["scale"] is not None:
            out = (out - np.float32(self._output["zero_point"])) * np.float32(self._output["scale"])
        return out


def _coded(end: dict[str, Any]) -> dict[str, Any] | None:
    """Return shape, type, scale and zero point of an input or output of codes."""
    if end["scale"] is None:
        return None
    return {
        "dtype": end["dtype"],
        "scale": end["scale"],
        "zero_point": end["zero_point"],
        "shape": [None, *end["shape"][1:]],
    }
