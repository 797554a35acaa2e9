"""Every value in half precision."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError
from potstill.labels.codecs._base import registry
from potstill.labels.codecs._dense import DenseCodec

LARGEST = 65504.0


@registry.register
class Float16Spec(DenseCodec):
    """Every value in half precision: 2 K bytes a row; error at most 2⁻¹¹ of a value (2⁻²⁵ near 0)."""

    kind: Literal["float16"] = "float16"

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {"values": ("<f2", (num_classes,))}

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_range(values_NK)
        return {"values": np.ascontiguousarray(values_NK, dtype=np.float16)}

    def _values(self, fields: Any) -> NDArray[Any]:
        import torch  # brings halves to float32 in a tenth of NumPy's time

        values = np.asarray(fields["values"])
        widened: NDArray[Any] = torch.from_numpy(values if values.flags.writeable else values.copy()).float().numpy()
        return widened

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        largest = np.abs(values_NK).max(axis=1)
        bound: NDArray[Any] = np.maximum(largest * 2.0**-11, 2.0**-25)
        return bound


def check_range(values_NK: NDArray[Any]) -> None:
    """Raise StoreError, naming the first row, where a value does not fit float16."""
    bad = np.flatnonzero((np.abs(values_NK) > LARGEST).any(axis=1))
    if len(bad):
        raise StoreError(
            f"codec: values kept as float16 must lie within ±{LARGEST:.0f}; got "
            f"{float(np.abs(values_NK[bad[0]]).max()):.4g} in row {bad[0]} of the batch. Use codec float32."
        )
