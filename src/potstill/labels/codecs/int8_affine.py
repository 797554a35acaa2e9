"""One byte a value, with a scale and an offset a row. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.labels.codecs._base import registry
from potstill.labels.codecs._dense import DenseCodec
from potstill.labels.codecs.float16 import check_range


@registry.register
class Int8AffineSpec(DenseCodec):
    """One byte a value, float16 scale and offset a row: K + 4 bytes a row; error about range / 510."""

    kind: Literal["int8-affine"] = "int8-affine"

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {"codes": ("u1", (num_classes,)), "scale": ("<f2", ()), "offset": ("<f2", ())}

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_range(values_NK)
        values = values_NK.astype(np.float64)
        # Round offset and scale to float16 first, outwards: then the codes are exact for what is kept, and the
        # largest value is still in reach.
        offset = _round_down(values.min(axis=1))
        span = values.max(axis=1) - offset.astype(np.float64)
        scale = _round_up(span / 255.0)
        step = np.where(scale > 0, scale.astype(np.float64), 1.0)
        codes = np.rint((values - offset.astype(np.float64)[:, None]) / step[:, None])
        return {"codes": np.clip(codes, 0, 255).astype(np.uint8), "scale": scale, "offset": offset}

    def _values(self, fields: Any) -> NDArray[Any]:
        scale = np.asarray(fields["scale"]).astype(np.float32)[:, None]
        offset = np.asarray(fields["offset"]).astype(np.float32)[:, None]
        out: NDArray[Any] = np.asarray(fields["codes"]).astype(np.float32)
        out *= scale
        out += offset
        return out

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        """Half a step, where a step is 1/255 of (range + the offset's rounding), rounded up; and float32's own.

        Rounding up costs 2^-10 of the step, or 2^-24 where float16 has no smaller numbers.
        """
        low, high = values_NK.min(axis=1).astype(np.float64), values_NK.max(axis=1).astype(np.float64)
        rounding = np.maximum(np.abs(low) * 2.0**-10, 2.0**-24)
        step = (high - low + rounding) / 255 * (1 + 2.0**-10) + 2.0**-24
        bound: NDArray[Any] = step / 2 + np.maximum(np.abs(low), np.abs(high)) * 2.0**-21
        return bound


def _round_down(values: NDArray[Any]) -> NDArray[Any]:
    rounded = values.astype(np.float16)
    with np.errstate(over="ignore"):  # below the lowest number, where it is not picked
        lower = np.nextafter(rounded, np.float16(-np.inf))
    return np.where(rounded > values, lower, rounded).astype(np.float16)


def _round_up(values: NDArray[Any]) -> NDArray[Any]:
    rounded = values.astype(np.float16)
    return np.where(rounded < values, np.nextafter(rounded, np.float16(np.inf)), rounded).astype(np.float16)
