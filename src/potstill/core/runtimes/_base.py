"""What a runtime gives to whoever serves it. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError

MAX_BYTES = 2 << 30
SAMPLES = "samples as potstill gives them (pixels in [0, 1]), normalisation inside"
"""What our files say that they take."""
NORMALISED = "samples as potstill gives them (pixels in [0, 1]), normalised by the host"
"""What those say that read codes."""


class Session(Protocol):
    """A model file in its runtime."""

    input_dtype: Any
    """NumPy type of what it reads."""
    input_shape: tuple[int | None, ...]
    """[B, *X]; None where a dimension is open."""
    metadata: dict[str, str]
    """What the file says of itself; "potstill" where we wrote it."""

    signature: dict[str, Any]
    """"inputs" and "outputs": dtype, scale and zero point where the file itself takes or gives codes, which the session makes of numbers
    and back; "host": what the session does before, {"do": "normalise" or "log-mel", ...}; each missing where it does not."""

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32, of inputs of its own type."""
        ...


def row_by_row(run: Callable[[NDArray[Any]], NDArray[Any]], inputs_BX: NDArray[Any]) -> NDArray[Any]:
    """Return what a model of batch 1 gives for each row; `run` returns a copy."""
    if len(inputs_BX) == 0:
        return row_by_row(run, np.zeros((1, *inputs_BX.shape[1:]), inputs_BX.dtype))[:0]
    return np.concatenate([run(inputs_BX[i : i + 1]) for i in range(len(inputs_BX))])


def codes_of(x: NDArray[Any], scale: float, zero: int, dtype: Any) -> NDArray[Any]:
    """Return the codes of numbers: the nearest, those beyond the type's at its ends."""
    limits = np.iinfo(dtype)
    codes: NDArray[Any] = np.clip(np.rint(x / np.float32(scale)) + zero, limits.min, limits.max).astype(dtype)
    return codes


def read_file(path: Path, what: str) -> bytes:
    """Return the bytes of a model file. Raises PotstillError where there is none, or it is empty or too large."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size == 0 or size > MAX_BYTES:
            raise PotstillError(f"{path}: must be {what} of 1 to {MAX_BYTES} bytes; got {size} bytes.")
        return path.read_bytes()
    except OSError as err:
        raise PotstillError(f"{path}: must be {what} that can be read; got {err.strerror}.") from err
