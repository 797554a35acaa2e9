"""What a model takes and gives: all that a family needs to build one. Shapes: K classes, H horizon, V variables, L tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from potstill.core.samples import FORMS, SampleKind, input_shape


@dataclass(frozen=True)
class ModelIO:
    """What a model is built for: the data decides it."""

    outputs: tuple[int, ...]
    """Of one row: (K,) logits, (H, V) values or (L, K) logits of tokens."""
    shape: tuple[int, ...]
    """Of one input row: [C, H, W], [V, T], [T] or [L]; after preprocessing, as the model reads it."""
    kind: SampleKind = "image"
    rate_hz: float | None = None
    """Samples a second; None where it is not known."""
    dtype: Literal["float32", "uint8", "int32"] = "float32"
    """Of the input: bytes of text, int32 ids once it was tokenized."""

    @property
    def num_classes(self) -> int:
        """K; V of values."""
        return self.outputs[-1]

    @property
    def row_width(self) -> int:
        """How many numbers one row of outputs is."""
        return math.prod(self.outputs)

    @property
    def channels(self) -> int:
        """C of images, V of series."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """H of images, in pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """W of images, in pixels."""
        return self.shape[2]

    @property
    def steps(self) -> int:
        """T of series and audio, L of text."""
        return self.shape[-1]


def io_of(kind: SampleKind, stored: tuple[int, ...], outputs: tuple[int, ...], rate_hz: float | None) -> ModelIO:
    """Return the ModelIO of data: `stored` is the shape of a sample on disk."""
    return ModelIO(tuple(outputs), input_shape(kind, stored), kind, rate_hz, FORMS[kind].input_dtype)
