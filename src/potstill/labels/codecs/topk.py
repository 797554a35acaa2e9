"""The largest k values, and the exact mass of the rest at declared temperatures. Shapes: N rows, K classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from potstill.core.errors import ShapeError
from potstill.labels.codecs._base import CodecSpec, registry
from potstill.labels.codecs._dense import STD_FLOOR
from potstill.labels.codecs.float16 import check_range


@registry.register
class TopKSpec(CodecSpec):
    """The k largest values in float16, and what the rest weighs at each declared temperature.

    The rest shares its mass evenly when decoded: kept probabilities are right to float16, the order within the rest is
    lost. Reference: Shen and Xing 2021, arXiv:2112.01528 (marginal smoothing of top-k soft labels).
    """

    kind: Literal["topk"] = "topk"
    k: int = Field(default=16, ge=1)
    """Values kept of each row; at most K - 1."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Temperatures at which the rest's mass is kept, raw and standardised; objectives may use only these."""

    @field_validator("temperatures")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not t > 0 for t in value) or len(set(value)) != len(value):
            raise ValueError(f"temperatures must be at least one, > 0 and each given once; got {list(value)}")
        return value

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        if self.k >= num_classes:
            raise ShapeError(f"labels.codec.k: must be below the number of classes, {num_classes}; got k={self.k}.")
        num = len(self.temperatures)
        return {
            "indices": ("<u2" if num_classes <= 65536 else "<u4", (self.k,)),
            "values": ("<f2", (self.k,)),
            "tail": ("<f4", (num,)),
            "tail_standardized": ("<f4", (num,)),
            "mean": ("<f4", ()),
            "std": ("<f4", ()),
        }

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_range(values_NK)
        layout = self.layout(values_NK.shape[1])
        values = values_NK.astype(np.float64)
        order = np.argsort(-values, axis=1, kind="stable")
        kept, rest = np.sort(order[:, : self.k], axis=1), order[:, self.k :]
        mean = values.mean(axis=1)
        std = np.maximum(values.std(axis=1), STD_FLOOR)
        left = np.take_along_axis(values, rest, axis=1)
        left_standardized = (left - mean[:, None]) / std[:, None]
        return {
            "indices": kept.astype(layout["indices"][0]),
            "values": np.take_along_axis(values, kept, axis=1).astype(np.float16),
            "tail": self._log_sum_exp(left),
            "tail_standardized": self._log_sum_exp(left_standardized),
            "mean": mean.astype(np.float32),
            "std": std.astype(np.float32),
        }

    def _log_sum_exp(self, values: NDArray[Any]) -> NDArray[Any]:
        out = []
        for t in self.temperatures:
            top = values.max(axis=1) / t
            out.append(top + np.log(np.exp(values / t - top[:, None]).sum(axis=1)))
        return np.stack(out, axis=1).astype(np.float32)

    def decode(
        self, fields: Mapping[str, NDArray[Any]], num_classes: int, temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        if temperature not in self.temperatures:
            raise ValueError(f"topk: temperature must be one of {list(self.temperatures)}; got {temperature}.")
        at = self.temperatures.index(temperature)
        kept = np.asarray(fields["values"]).astype(np.float32)
        tail = np.asarray(fields["tail_standardized" if standardized else "tail"])[:, at]
        if standardized:
            kept = (kept - np.asarray(fields["mean"])[:, None]) / np.asarray(fields["std"])[:, None]
        # num_rest equal values v with num_rest * exp(v / T) = exp(tail)
        fill = temperature * (tail - np.float32(np.log(num_classes - self.k)))
        out = np.repeat(fill.astype(np.float32)[:, None], num_classes, axis=1)
        np.put_along_axis(out, np.asarray(fields["indices"]).astype(np.int64), kept, axis=1)
        return out

    def serves(self, temperature: float, standardized: bool) -> bool:
        return temperature in self.temperatures

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        """For the kept values only: float16's rounding."""
        largest = np.abs(values_NK).max(axis=1)
        bound: NDArray[Any] = np.maximum(largest * 2.0**-11, 2.0**-25)
        return bound
