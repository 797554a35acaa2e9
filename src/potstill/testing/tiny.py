"""Tiny data and teacher outputs. NumPy only, but for what is asked for as tensors. Shapes: N rows, B rows of a batch, X the
shape of one sample, H, W pixels, C channels, K classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError
from potstill.core.outputs import TaskOutput, TeacherOutput
from potstill.core.samples import DataStats, SampleKind
from potstill.data.augment import make_batch
from potstill.data.dataset import Split
from potstill.labels.codecs import CodecSpec
from potstill.models import ModelIO, io_of

if TYPE_CHECKING:
    from torch import Tensor

IO = ModelIO((10,), (1, 8, 8))
"""Of the tiny pictures; also that of the embedded digits."""
STATS = DataStats((0.4,), (0.3,))
"""Of the tiny pictures."""
STORED: dict[SampleKind, tuple[int, ...]] = {"image": (8, 10, 3), "series": (48, 2), "audio": (8000,), "text": (40,)}
"""Kind -> shape of one tiny sample on disk; audio at 8 kHz."""
_WORDS = [
    "potstill",
    "distils",
    "a",
    "big",
    "model",
    "into",
    "one",
    "that",
    "fits",
    "your",
    "device",
    "and",
    "says",
    "when",
    "it",
    "does",
    "not",
    "help",
]


def io_for(kind: SampleKind, output: TaskOutput = "classes") -> ModelIO:
    """Return the ModelIO of tiny data: ten classes, or two variables twelve steps ahead."""
    if kind == "image":
        return IO
    outputs = {"classes": (10,), "values": (12, 2), "tokens": (6, 20)}[output]
    return io_of(kind, STORED[kind], outputs, 8000.0 if kind == "audio" else None)


def stats_for(kind: SampleKind) -> DataStats:
    """Return the statistics of tiny data."""
    if kind == "series":
        return DataStats((0.1, -0.2), (1.1, 0.9))
    return DataStats((), (), lambda: iter([" ".join(_WORDS[i:] + _WORDS[:i]) for i in range(len(_WORDS))])) \
        if kind == "text" else STATS if kind == "image" else DataStats((), ())  # fmt: skip


def samples(kind: SampleKind, num: int = 60, seed: int = 11) -> NDArray[Any]:
    """Return [N, *X] tiny samples as they are stored, no two alike."""
    rng, shape = np.random.default_rng(seed), STORED[kind]
    if kind == "image":
        found: NDArray[Any] = pictures(num, shape[0], shape[1], shape[2])[0]
        return found
    if kind == "series":
        return rng.normal(size=(num, *shape)).astype(np.float32)
    if kind == "audio":
        return (rng.normal(size=(num, *shape)) * 3000).astype(np.int16)
    out = np.zeros((num, *shape), np.uint8)
    for row in out:
        words = " ".join(rng.choice(_WORDS, size=rng.integers(1, 9))).encode()[: shape[0]]
        row[: len(words)] = np.frombuffer(words, np.uint8)
    return out


def inputs(kind: SampleKind, num: int = 8, seed: int = 0) -> NDArray[Any]:
    """Return [B, *X] tiny samples as a batch gives them."""
    if kind == "image":
        return np.random.default_rng(seed).normal(size=(num, *IO.shape)).astype(np.float32)
    return make_batch(split_of(samples(kind, num, seed), kind), np.arange(num), 0, (), 0).inputs_BX.numpy()


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
    return split_of(pictures(num, height, width, channels)[0], "image", hidden)


def split_of(samples_NX: NDArray[Any], kind: SampleKind, hidden: int = 0) -> Split:
    """Return a split in memory of ten classes in turn, read-only as one from disk is; the labels of its last `hidden` rows are
    hidden."""
    num = len(samples_NX)
    digests = np.zeros((num, 16), np.uint8)
    digests[:, :8] = np.arange(num, dtype="<i8")[:, None].view(np.uint8)
    labelled = (np.arange(num) < num - hidden).astype(np.uint8)
    found = Split(samples_NX, np.arange(num, dtype=np.int64) % 10, labelled, np.arange(num) * 7 + 3, digests, kind)
    for array in (found.samples, found.labels, found.labelled, found.ids, found.digests):
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
