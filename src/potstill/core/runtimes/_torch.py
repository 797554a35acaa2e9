"""What the runtimes of PyTorch share. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.runtimes._base import SAMPLES

_TYPES = {"float32": np.float32, "int32": np.int32, "int64": np.int64}


def card(example_BX: NDArray[Any]) -> str:
    """Return what a file says of itself: what it takes, and that we wrote it."""
    return json.dumps(
        {
            "dtype": example_BX.dtype.name,
            "shape": [None, *example_BX.shape[1:]],
            "potstill": SAMPLES,
        }
    )


def card_of(data: bytes) -> dict[str, Any]:
    """Return what a file says of itself, checked; of one that says nothing, pictures in float32."""
    if not data:
        return {"dtype": "float32", "shape": [None, None, None, None]}
    try:
        said: dict[str, Any] = json.loads(data)
        if said["dtype"] not in _TYPES or not all(d is None or (isinstance(d, int) and d > 0) for d in said["shape"]):
            raise ValueError("an unknown type or shape")
    except (ValueError, TypeError, KeyError) as err:
        raise PotstillError(f"its card must say what it takes; got {data[:200]!r} ({err}). Export it again.") from err
    return said


class TorchSession(ABC):
    """A model of PyTorch's with one input and one output."""

    input_dtype: Any
    input_shape: tuple[int | None, ...]
    metadata: dict[str, str]
    signature: dict[str, Any] = {}  # noqa: RUF012 - empty

    def _says(self, said: dict[str, Any]) -> None:
        self.input_dtype = _TYPES[said["dtype"]]
        self.input_shape = tuple(said["shape"])
        self.metadata = {"potstill": str(said["potstill"])} if "potstill" in said else {}

    @abstractmethod
    def _run(self, inputs: Any) -> Any:
        """Return the outputs, as tensors."""

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32. Raises PotstillError unless that is what the model gives."""
        import torch

        with torch.inference_mode():
            out = self._run(torch.from_numpy(inputs_BX.copy()))
        if not isinstance(out, torch.Tensor) or out.ndim < 2 or len(out) != len(inputs_BX):
            shown = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise PotstillError(f"output must be one tensor [rows, ...]; got {shown}")
        found: NDArray[Any] = out.float().numpy()
        return found
