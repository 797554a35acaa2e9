"""Ids of tokens, exactly. Shapes: N rows, L tokens."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError
from potstill.labels.codecs._base import registry
from potstill.labels.codecs._dense import DenseCodec

_LARGEST = 2**24
"""Above it float32, in which teachers' outputs travel, has no longer every whole number."""


@registry.register
class TokenIdsSpec(DenseCodec):
    """Ids of the tokens that a teacher wrote, -1 where padding: 4 L bytes a row, no error."""

    tokens: ClassVar[bool] = True
    kind: Literal["token-ids"] = "token-ids"

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {"tokens": ("<i4", (num_classes,))}

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return int32. Raises StoreError where something is no id: not whole, below -1, or above 2²⁴."""
        wrong = ~((values_NK == np.rint(values_NK)) & (values_NK >= -1) & (values_NK <= _LARGEST))
        if wrong.any():
            raise StoreError(
                f"labels.codec token-ids: must be given ids of tokens, whole numbers from -1 to {_LARGEST}; got "
                f"{values_NK[wrong].flat[0]:g}. Use another codec for a teacher that gives logits or values."
            )
        return {"tokens": np.ascontiguousarray(values_NK, dtype="<i4")}

    def _values(self, fields: Any) -> NDArray[Any]:
        return np.asarray(fields["tokens"], dtype=np.float32)

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        return np.zeros(len(values_NK))

    def serves(self, temperature: float, standardized: bool) -> bool:
        return not standardized
