"""Words that data, models and teachers share for what a sample is. NumPy only. Shapes: N rows, B rows of a batch, C channels,
H, W pixels, T steps, V variables, L bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

SampleKind = Literal["image", "series", "audio", "text"]
"""image: pixels; series: numbers over time, of one variable or several; audio: one channel of sound at one rate; text: UTF-8."""


@dataclass(frozen=True)
class Form:
    """How samples of a kind are kept on disk, and how a model is given them."""

    dtype: str
    """Of the file: NumPy's little-endian name."""
    ndim: int
    """Dimensions of one sample."""
    shape: str
    """What they are, for errors."""
    input_dtype: Literal["float32", "uint8"]
    """Of a batch."""
    noun: str
    """What a person calls one sample."""

    def stored_bytes(self) -> int:
        """Return the bytes of one number."""
        return int(self.dtype[-1])


FORMS: dict[SampleKind, Form] = {
    "image": Form("|u1", 3, "[H, W, C]", "float32", "picture"),
    "series": Form("<f4", 2, "[T, V]", "float32", "series"),
    "audio": Form("<i2", 1, "[T]", "float32", "recording"),
    "text": Form("|u1", 1, "[L]", "uint8", "text"),
}
"""A batch gives images as [B, C, H, W] in [0, 1], series as [B, V, T] as they are, audio as [B, T] in [-1, 1], and text as
[B, L] bytes, zero where it has ended."""


def input_shape(kind: SampleKind, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which a batch gives one sample of a stored shape: channels, or variables, come first."""
    return (stored[-1], *stored[:-1]) if kind in ("image", "series") else stored


def no_texts() -> Iterator[str]:
    """Return no texts: what data of other kinds has."""
    return iter(())


@dataclass(frozen=True)
class DataStats:
    """What models read of the training split before they see a sample."""

    mean: tuple[float, ...]
    """Per channel of pixels in [0, 1], per variable of series; () for audio and text."""
    std: tuple[float, ...]
    texts: Callable[[], Iterator[str]] = no_texts
    """Every training text in order, for a tokenizer; none for other kinds."""
