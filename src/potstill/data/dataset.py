"""The prepared data: memory-mapped splits. Shapes: N rows, H, W pixels, C channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import StoreError
from potstill.core.tensorfile import open_arrays
from potstill.data._prepare import META, prepare

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """One split; arrays are mapped from disk."""

    images: NDArray[Any]
    """[N, H, W, C] uint8."""
    labels: NDArray[Any]
    """[N] int64, -1 where the row has no label at all."""
    labelled: NDArray[Any]
    """[N] uint8, 1 where a student may use the label."""
    ids: NDArray[Any]
    """[N] int64, the row's position in its source, whatever was left out."""
    digests: NDArray[Any]
    """[N, 16] uint8, of pixels and shape."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Splits "train", "validation" and "test", and what they have in common."""

    splits: dict[str, Split]
    classes: list[str]
    image_shape: tuple[int, int, int]
    """H, W, C."""
    mean: tuple[float, ...]
    """Per channel, of the training split's pixels in [0, 1]."""
    std: tuple[float, ...]
    digest: str
    """Of every row's pixels, label and split."""

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open what `prepare` wrote. Raises StoreError when a file is missing or damaged."""
        meta = atomic.read_json(folder / META)
        splits = {}
        for name in SPLITS:
            arrays = open_arrays(folder / f"{name}.safetensors", scattered=True)
            if set(arrays) != {"images", "labels", "labelled", "ids", "digests"}:
                raise StoreError(f"{folder / name}.safetensors: must hold a split; it holds {sorted(arrays)}.")
            splits[name] = Split(**arrays)
        shape = meta["image_shape"]
        return cls(
            splits, list(meta["classes"]), (shape[0], shape[1], shape[2]), tuple(meta["mean"]), tuple(meta["std"]),
            str(meta["digest"]),
        )  # fmt: skip


__all__ = ["Dataset", "Split", "prepare"]
