"""Sources that are arrays already. Shapes: N rows, H, W pixels, C channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError
from potstill.data._base import Chunk, Source, SplitReader

MAX_CLASSES = 1_000_000
_CHUNK = 4096


def images_of(array: Any, where: str, layout: str = "nhwc") -> NDArray[Any]:
    """Return [N, H, W, C] uint8 without copying what is uint8 already.

    uint8 is taken as it is; floats must lie in [0, 1] and are rounded to 255 steps; anything else is refused.

    Raises:
        DataError: another shape, type or range.
    """
    images = np.asarray(array)
    if images.ndim == 3:
        images = images[:, :, :, None]
    elif images.ndim == 4 and layout == "nchw":
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 2, 3, 4) or 0 in images.shape:
        raise DataError(
            f"{where}: pictures must be [N, H, W] or [N, H, W, C] with C of 1 to 4; got {list(np.shape(array))}. Say "
            "layout: nchw if channels come first."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f" and np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1:
        rounded: NDArray[Any] = np.rint(images * 255).astype(np.uint8)
        return rounded
    raise DataError(
        f"{where}: pictures must be uint8 in 0..255, or float in [0, 1]; got {images.dtype} from {images.min()} to "
        f"{images.max()}. Convert them first, so that nothing is scaled by guess."
    )


def labels_of(array: Any, num: int, where: str) -> NDArray[np.int64]:
    """Return [N] int64 of [N] or [N, 1]. Raises DataError for another length, or values that are no whole numbers."""
    labels = np.asarray(array)
    if labels.shape == (num, 1):
        labels = labels[:, 0]
    if labels.shape != (num,):
        raise DataError(f"{where}: labels must be [{num}], one a picture; got {list(labels.shape)}.")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers; got {labels.dtype}.")
    return labels.astype(np.int64)


def numbered(labels_N: NDArray[np.int64]) -> list[str] | None:
    """Return "0", "1" and so on up to the largest label, for classes without names; None where that makes no sense."""
    highest = int(labels_N.max(initial=-1))
    return [str(k) for k in range(highest + 1)] if 0 <= highest < MAX_CLASSES else None


def source_of(
    splits: Mapping[str, tuple[Any, Any]], classes: list[str] | None, where: str, layout: str = "nhwc"
) -> Source:
    """Return a Source over arrays in memory or memory-mapped."""
    if "train" not in splits:
        raise DataError(f"{where}: must have a split 'train'; got {sorted(splits)}.")
    readers, shape = {}, None
    for name, (x, y) in splits.items():
        images = images_of(x, f"{where} {name}", layout)
        labels = labels_of(y, len(images), f"{where} {name}")
        if shape is not None and images.shape[1:] != shape:
            raise DataError(f"{where} {name}: pictures must be {shape} as in train; got {images.shape[1:]}.")
        shape = images.shape[1:]
        if name == "train":
            classes = classes or numbered(labels)
        readers[name] = SplitReader(len(images), _reader(images, labels, name))
    assert shape is not None
    return Source(readers, (shape[0], shape[1], shape[2]), classes)


def _reader(images: NDArray[Any], labels: NDArray[Any], split: str) -> Callable[[], Iterator[Chunk]]:
    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(images), _CHUNK):
            stop = min(start + _CHUNK, len(images))
            names = [f"{split} row {i}" for i in range(start, stop)]
            yield Chunk(np.ascontiguousarray(images[start:stop]), labels[start:stop], names)

    return chunks
