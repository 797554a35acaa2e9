"""What a codec is. Shapes: N rows, K classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from potstill.core.spec import Registry, Spec


class CodecSpec(Spec, ABC):
    """A lossy or exact way to keep float32 rows."""

    dense: ClassVar[bool] = False
    """Keeps every class, so that decoding does not depend on the temperature."""
    tokens: ClassVar[bool] = False
    """Keeps ids of tokens, whole numbers from -1 (padding), and nothing else; every other codec rounds them."""
    per_token: ClassVar[bool] = False
    """Keeps each token of a row, [L, K] laid flat, by itself; every other sparse codec is for rows of one answer."""
    kind: str

    @abstractmethod
    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return field name -> (NumPy dtype, shape of one row)."""

    @abstractmethod
    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the fields of `layout`, each with N rows, for float32 values."""

    @abstractmethod
    def decode(
        self, fields: Mapping[str, NDArray[Any]], num_classes: int, temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        """Return [N, K] float32 raw values. A sparse codec fills what it left out so that softmax(values / T)
        has the right mass; with `standardized`, rows come back standardised (mean 0, std 1, ddof 0)."""

    @abstractmethod
    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        """Return [N], the most by which a decoded value may differ from its original."""

    def row_bytes(self, width: int) -> int:
        """Return the bytes of one encoded row of so many values."""
        return sum(np.dtype(d).itemsize * math.prod(shape) for d, shape in self.layout(width).values())

    def serves(self, temperature: float, standardized: bool) -> bool:
        """Return whether `decode` is meant for this temperature."""
        return True


registry: Registry[CodecSpec] = Registry("codecs")
