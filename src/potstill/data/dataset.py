"""The prepared data: memory-mapped splits. Shapes: N rows, X the shape of one sample, H horizon, V variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import StoreError
from potstill.core.samples import DataStats, SampleKind
from potstill.core.tensorfile import open_arrays
from potstill.data._prepare import EXTRAS, META, prepare

SPLITS = ("train", "validation", "test")
_FIELDS = ("samples", "labels", "labelled", "ids", "digests")


@dataclass(frozen=True)
class Split:
    """One split; arrays are mapped from disk."""

    samples: NDArray[Any]
    """[N, *X] of the kind's stored dtype (core/samples.py)."""
    labels: NDArray[Any]
    """[N] int64, -1 where the row has no label at all."""
    labelled: NDArray[Any]
    """[N] uint8, 1 where a student may use the label."""
    ids: NDArray[Any]
    """[N] int64, the row's position in its source, whatever was left out."""
    digests: NDArray[Any]
    """[N, 16] uint8, of a sample and its shape."""
    kind: SampleKind = "image"
    """What a sample is."""
    targets: NDArray[Any] | None = None
    """float32: [N, H, V], the values to be forecast, or [N, K] of 0 and 1, the classes of a row; uint8 [N, L], the text to be
    written; None where labels say it all."""
    weights: NDArray[Any] | None = None
    """[N] float32, what a row counts; None counts all alike."""
    groups: NDArray[Any] | None = None
    """[N] int64, whose row it is; None where the source does not say."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Splits "train", "validation" and "test", and what they have in common."""

    splits: dict[str, Split]
    classes: list[str]
    """Names in label order; of the variables, where values are forecast."""
    shape: tuple[int, ...]
    """Of a stored sample."""
    kind: SampleKind
    rate_hz: float | None
    target_shape: tuple[int, ...] | None
    """(H, V) of the values to be forecast; (K,) where a row may have several of K classes; (L,) of the text to be written; None where
    a row has one class."""
    stats: DataStats
    """Of the training split."""
    digest: str
    """Of every row's sample, label and split."""

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open what `prepare` wrote. Raises StoreError when a file is missing or damaged."""
        meta = atomic.read_json(folder / META)
        kind: SampleKind = meta["kind"]
        splits = {}
        for name in SPLITS:
            arrays = open_arrays(folder / f"{name}.safetensors", scattered=True)
            if not {*_FIELDS} <= set(arrays) <= {*_FIELDS, *EXTRAS}:
                raise StoreError(f"{folder / name}.safetensors: must hold a split; it holds {sorted(arrays)}.")
            splits[name] = Split(**arrays, kind=kind)
        horizon = meta["target_shape"]
        stats = DataStats(tuple(meta["mean"]), tuple(meta["std"]), partial(_texts, splits["train"]))
        return cls(
            splits, list(meta["classes"]), tuple(meta["shape"]), kind, meta["rate_hz"],
            tuple(horizon) if horizon else None, stats, str(meta["digest"]),
        )  # fmt: skip


def text_of(sample_L: NDArray[Any]) -> str:
    """Return the text that a stored sample is."""
    return bytes(sample_L).rstrip(b"\0").decode("utf-8")


def _texts(split: Split) -> Iterator[str]:
    """Yield the texts that are read, then those to be written that may be known."""
    if split.kind == "text":
        yield from (text_of(row) for row in split.samples)
        if split.targets is not None and split.targets.dtype == np.uint8:  # others are flags, one a class
            yield from (text_of(row) for row, known in zip(split.targets, split.labelled, strict=True) if known)


__all__ = ["Dataset", "Split", "prepare", "text_of"]
