"""What codecs that keep every class share. Shapes: N rows, K classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from potstill.labels.codecs._base import CodecSpec

STD_FLOOR = 1e-6


def standardize(values_NK: NDArray[Any]) -> NDArray[Any]:
    """Return rows with mean 0 and standard deviation 1 (ddof 0, floored at 1e-6), float32."""
    centred = values_NK - values_NK.mean(axis=1, keepdims=True)
    std = np.maximum(np.sqrt(np.square(centred).mean(axis=1, keepdims=True)), STD_FLOOR)
    out: NDArray[Any] = centred / std
    return out.astype(np.float32, copy=False)


class DenseCodec(CodecSpec):
    """Keeps every class; decoding does not depend on the temperature."""

    dense: ClassVar[bool] = True

    @abstractmethod
    def _values(self, fields: Any) -> NDArray[Any]:
        """Return [N, K] float32."""

    def decode(
        self, fields: Any, num_classes: int, temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        values = self._values(fields)
        return standardize(values) if standardized else values
