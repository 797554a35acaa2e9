"""ExecuTorch: .pte files, with XNNPACK on the CPU, row by row. Its Python binding loads torch. Shapes: B rows, X the shape of one input, Y
of one output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.extras import require
from potstill.core.runtimes._base import SAMPLES, read_file, row_by_row

MARK = "potstill_samples"
"""Name of a method without arguments, which a file has that we wrote."""
_TYPES = {3: np.int32, 4: np.int64, 6: np.float32}
"""By the number of PyTorch's scalar type."""

LOADS_TORCH = True
"""What measures memory takes torch for a part of this runtime."""


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured."""
    require("executorch.runtime", "runtimes", "ExecuTorch").Runtime.get()


def opened(path: Path, threads: int = 1) -> ExecuTorchSession:
    """Return a .pte file as what it is; raises as `ExecuTorchSession`."""
    return ExecuTorchSession(path, threads)


class ExecuTorchSession:
    """A model with one input and one output.

    Args:
        path: of the file.
        threads: of the runtime.

    Raises:
        PotstillError: no .pte file that can be run.
        MissingExtraError: ExecuTorch is not installed.
    """

    signature: dict[str, Any] = {}  # noqa: RUF012 - empty

    def __init__(self, path: Path, threads: int = 1) -> None:
        data = read_file(path, "a .pte file")
        if data[4:6] != b"ET":
            raise PotstillError(f"{path}: must be a .pte file; got one without its mark 'ET'.")
        runtime = require("executorch.runtime", "runtimes", f"{path}")
        require("executorch.extension.pybindings.portable_lib", "runtimes", f"{path}")._unsafe_reset_threadpool(threads)
        self._program: Any = runtime.Runtime.get().load_program(
            path, verification=runtime.Verification.InternalConsistency
        )
        self._method: Any = self._program.load_method("forward")
        meta = self._method.metadata
        if meta.num_inputs() != 1 or meta.num_outputs() != 1:
            raise PotstillError(
                f"{path}: must have one input and one output; got {meta.num_inputs()} inputs and {meta.num_outputs()} outputs."
            )
        given = meta.input_tensor_meta(0)
        self.input_shape = tuple(int(d) for d in given.sizes())
        if given.dtype() not in _TYPES:
            raise PotstillError(f"{path}: must take float32, int32 or int64; got PyTorch's type {given.dtype()}.")
        self.input_dtype: Any = _TYPES[given.dtype()]
        self.metadata = {"potstill": SAMPLES} if MARK in self._program.method_names else {}

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32."""
        return row_by_row(self._run, inputs_BX)

    def _run(self, row_1X: NDArray[Any]) -> NDArray[Any]:
        import torch

        if row_1X.shape != self.input_shape:
            raise PotstillError(f"input must be {list(self.input_shape[1:])} a row; got {list(row_1X.shape[1:])}")
        (out,) = self._method.execute([torch.from_numpy(row_1X.copy())])
        found: NDArray[Any] = out.float().numpy().copy()
        return found
