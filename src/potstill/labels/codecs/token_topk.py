"""The largest k logits of each token, and the exact mass of the rest. Shapes: N rows, L tokens, K tokens to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.labels.codecs._base import CodecSpec, registry
from potstill.labels.codecs.float16 import check_range


@registry.register
class TokenTopKSpec(CodecSpec):
    """Of each token's logits the k largest in float16, and what the rest weighs at one temperature: 4 k + 4 bytes a token.

    The rest shares its mass evenly when decoded. Whole logits of 40 tokens out of 4,000 take 320 KB a row in float16; k = 8
    takes 1.4 KB. Reference: Shen and Xing 2021, arXiv:2112.01528 (marginal smoothing of top-k soft labels).
    """

    per_token: ClassVar[bool] = True
    kind: Literal["token-topk"] = "token-topk"
    length: int = Field(default=40, ge=1, examples=[2])
    """Tokens of a row, L: the models' `input.max_tokens`."""
    k: int = Field(default=8, ge=1, examples=[2])
    """Logits kept of each token; fewer than there are to choose from."""
    temperature: float = Field(default=1.0, gt=0)
    """At which the rest's mass is kept; objectives may use no other."""

    def layout(self, num_classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        if num_classes % self.length or self.k >= num_classes // self.length:
            raise ShapeError(
                f"labels.codec: must split a row of {num_classes} logits into length tokens of more than k each; got "
                f"length={self.length}, k={self.k}. Set length to the models' input.max_tokens."
            )
        wide = num_classes // self.length > 65536
        return {
            "indices": ("<u4" if wide else "<u2", (self.length, self.k)),
            "values": ("<f2", (self.length, self.k)),
            "tail": ("<f4", (self.length,)),
        }

    def encode(self, values_NK: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_range(values_NK)
        layout = self.layout(values_NK.shape[1])
        values = values_NK.reshape(len(values_NK), self.length, -1)
        kept = np.sort(np.argpartition(-values, self.k - 1, axis=2)[:, :, : self.k], axis=2)
        scaled: NDArray[Any] = values / np.float32(self.temperature)
        np.put_along_axis(scaled, kept, -np.inf, axis=2)
        top = scaled.max(axis=2, keepdims=True)
        tail = top[:, :, 0] + np.log(np.exp(scaled - top).sum(axis=2, dtype=np.float64))
        return {
            "indices": kept.astype(layout["indices"][0]),
            "values": np.take_along_axis(values, kept, axis=2).astype(np.float16),
            "tail": tail.astype(np.float32),
        }

    def decode(
        self, fields: Mapping[str, NDArray[Any]], num_classes: int, temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        """As every codec; of fields cut to their first tokens, and `num_classes` likewise, these tokens' logits."""
        if temperature != self.temperature or standardized:
            raise ValueError(
                f"token-topk: temperature must be {self.temperature}, not standardised; got {temperature}."
            )
        tail = np.asarray(fields["tail"])
        rows, length = tail.shape
        num = num_classes // length
        fill = temperature * (tail - np.float32(np.log(num - self.k)))
        out = np.empty((rows, length, num), np.float32)
        out[:] = fill[:, :, None]
        kept = np.asarray(fields["values"]).astype(np.float32)
        np.put_along_axis(out, np.asarray(fields["indices"]).astype(np.int64), kept, axis=2)
        return out.reshape(rows, -1)

    def serves(self, temperature: float, standardized: bool) -> bool:
        return temperature == self.temperature and not standardized

    def error_bound(self, values_NK: NDArray[Any]) -> NDArray[Any]:
        """For the kept values only: float16's rounding."""
        bound: NDArray[Any] = np.maximum(np.abs(values_NK).max(axis=1) * 2.0**-11, 2.0**-25)
        return bound
