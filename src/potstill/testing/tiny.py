"""Tiny data and teacher outputs. NumPy only, but for what is asked for as tensors. Shapes: N rows, B rows of a batch, H, W
pixels, C channels, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError
from potstill.core.outputs import TeacherOutput
from potstill.data.dataset import Split
from potstill.labels.codecs import CodecSpec
from potstill.models import ModelIO

if TYPE_CHECKING:
    from torch import Tensor

IO = ModelIO(num_classes=10, channels=1, height=8, width=8)
"""Of the tiny data; also that of the embedded digits."""


def pictures(
    num: int = 60, height: int = 8, width: int = 8, channels: int = 1, num_classes: int = 10
) -> tuple[Any, Any]:
    """Return ([N, H, W, C] uint8, [N] int64): noise, brighter in the class's own rows, so that it can be learnt."""
    rng = np.random.default_rng(11)
    labels = np.arange(num, dtype=np.int64) % num_classes
    images = rng.integers(0, 128, (num, height, width, channels))
    for k in range(num_classes):
        images[labels == k, k % height] += 100
    return images.astype(np.uint8), labels


def split(num: int = 60, height: int = 8, width: int = 10, channels: int = 3, hidden: int = 20) -> Split:
    """Return a split in memory, read-only as one from disk is; the labels of its last `hidden` rows are hidden."""
    images, labels = pictures(num, height, width, channels)
    digests = np.zeros((num, 16), np.uint8)
    digests[:, :8] = np.arange(num, dtype="<i8")[:, None].view(np.uint8)
    found = Split(images, labels, (np.arange(num) < num - hidden).astype(np.uint8), np.arange(num) * 7 + 3, digests)
    for array in (found.images, found.labels, found.labelled, found.ids, found.digests):
        array.flags.writeable = False
    return found


def logits(num: int = 12, num_classes: int = 20, seed: int = 0, scale: float = 3.0) -> NDArray[np.float32]:
    """Return [N, K] float32."""
    return np.random.default_rng(seed).normal(scale=scale, size=(num, num_classes)).astype(np.float32)


class Rows:
    """A batch of teacher outputs from a tensor; `asked` lists each reading as (temperature, standardised).

    Args:
        values_BK: logits, probabilities, values or ids of tokens.
        output: which of them.
    """

    def __init__(self, values_BK: Tensor, output: TeacherOutput = "logits") -> None:
        self.values_BK = values_BK
        self.output: TeacherOutput = output
        self.asked: list[tuple[float, bool]] = []

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Return [B, K], standardised per row if asked. Raises StoreError where the teacher gives probabilities."""
        self.asked.append((temperature, standardized))
        self._must_give("logits")
        if not standardized:
            return self.values_BK
        centred = self.values_BK - self.values_BK.mean(dim=1, keepdim=True)
        std: Tensor = centred.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
        return centred / std

    def probabilities(self) -> Tensor:
        """Return [B, K], rows summing to 1."""
        self.asked.append((1.0, False))
        if self.output != "probabilities":
            self._must_give("logits")
        return self.values_BK.softmax(dim=1) if self.output == "logits" else self.values_BK

    def values(self) -> Tensor:
        """Return [B, ...]. Raises StoreError where the teacher gives something else."""
        self.asked.append((1.0, False))
        self._must_give("values")
        return self.values_BK

    def tokens(self) -> Tensor:
        """Return [B, L]. Raises StoreError where the teacher gives something else."""
        self.asked.append((1.0, False))
        self._must_give("tokens")
        return self.values_BK

    def _must_give(self, output: TeacherOutput) -> None:
        if self.output != output:
            raise StoreError(f"labels: this objective needs the teacher's {output}; the teacher gives {self.output}.")


class MemoryStore:
    """A label store of one view in memory, passed through a codec.

    Args:
        values_NK: teacher outputs, float32.
        codec: what they are kept as.
        output: what they are.
    """

    views = 1

    def __init__(self, values_NK: NDArray[Any], codec: CodecSpec, output: TeacherOutput = "logits") -> None:
        self.codec = codec
        self.output: TeacherOutput = output
        self.num_rows, self.width = values_NK.shape
        self._fields = codec.encode(values_NK)

    def read(self, view: int, rows_B: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the codec's fields of rows of one view."""
        return {name: array[rows_B] for name, array in self._fields.items()}
