"""Every value as it is."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.labels.codecs._base import registry
from potstill.labels.codecs._dense import DenseCodec


@registry.register
class Float32Spec(DenseCodec):
    """Every value as it is: 4 K bytes a row, no error."""

    kind: Literal["float32"] = "float32"

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {"values": ("<f4", (num_classes,))}

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"values": np.ascontiguousarray(values_NK, dtype=np.float32)}

    def _values(self, fields: Any) -> NDArray[Any]:
        return np.asarray(fields["values"], dtype=np.float32)

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        return np.zeros(len(values_NK))
