"""Read a source once, split it, check it, write it. Shapes: N rows, H, W pixels, C channels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import DataError
from potstill.core.hashing import digest_json
from potstill.core.progress import Progress
from potstill.core.tensorfile import TensorWriter, open_arrays
from potstill.data import _split
from potstill.data._arrays import MAX_CLASSES
from potstill.data._base import DataSpec, Source, SplitReader

META = "data.json"
_CHUNK = 2048


def prepare(spec: DataSpec, out: Path, progress: Progress) -> None:
    """Write `{train,validation,test}.safetensors` and `data.json` into `out`; nothing large is held in memory.

    Raises:
        DataError: a row or the whole cannot be trained on; names it.
    """
    source = spec.open()
    scratch = out / "scratch"
    scratch.mkdir(exist_ok=True)
    with progress.task("data", sum(r.num_rows for r in source.splits.values()), "rows") as shown:
        raw = {name: _Raw(name, reader, source, scratch, shown) for name, reader in source.splits.items()}
    classes = _classes(source, raw)
    chosen = _choose(spec, raw, classes)
    meta: dict[str, Any] = {
        "image_shape": list(source.image_shape),
        "classes": classes,
        "splits": {},
        "dropped": chosen.dropped,
    }
    digest = hashlib.sha256()
    offsets = {"train": 0, "validation": raw["train"].num_rows}
    offsets["test"] = offsets["validation"] + (raw["validation"].num_rows if "validation" in raw else 0)
    for name, (origin, rows, labelled) in chosen.splits.items():
        _write_split(out / f"{name}.safetensors", raw[origin], rows, labelled, offsets[origin], digest)
        counts = np.bincount(raw[origin].labels[rows][raw[origin].labels[rows] >= 0], minlength=len(classes))
        meta["splits"][name] = {"rows": len(rows), "labelled": int(labelled.sum()), "class_counts": counts.tolist()}
    meta["mean"], meta["std"] = _moments(out / "train.safetensors")
    meta["digest"] = digest_json([digest.hexdigest(), classes, list(source.image_shape)])
    atomic.write_json(out / META, meta)
    for name in raw:
        (scratch / f"{name}.safetensors").unlink()
    scratch.rmdir()


class _Raw:
    """One split of a source as it came, decoded to a scratch file."""

    def __init__(self, name: str, reader: SplitReader, source: Source, scratch: Path, shown: Any) -> None:
        self.name, self._reader, self.num_rows = name, reader, reader.num_rows
        shape = source.image_shape
        layout = {"images": ("u1", (reader.num_rows, *shape)), "digests": ("u1", (reader.num_rows, 16))}
        self.labels = np.empty(reader.num_rows, np.int64)
        path, start = scratch / f"{name}.safetensors", 0
        with TensorWriter(path, layout) as writer:
            for images, labels, names in reader.chunks():
                if images.dtype != np.uint8 or images.shape[1:] != shape or len(labels) != len(images):
                    raise DataError(f"{names[0] if names else name}: pictures must be uint8 {list(shape)} with a label each; "
                                    f"got {images.dtype} {list(images.shape[1:])}, {len(labels)} labels.")  # fmt: skip
                if start + len(images) > reader.num_rows:
                    raise DataError(f"data {name}: must give {reader.num_rows} rows as it said; it gives more.")
                writer.append("images", images)
                writer.append("digests", _digests(images))
                self.labels[start : start + len(labels)] = labels
                start += len(images)
                shown.advance(len(images))
            if start != reader.num_rows:
                raise DataError(f"data {name}: must give {reader.num_rows} rows as it said; it gave {start}.")
        arrays = open_arrays(path)
        self.images, self.digests = arrays["images"], arrays["digests"]

    def name_of(self, row: int) -> str:
        """Return the source's own name of a row (found by reading again: errors may be slow, rows must be light)."""
        start = 0
        for _, labels, names in self._reader.chunks():
            if row < start + len(labels):
                return names[row - start]
            start += len(labels)
        return f"{self.name} row {row}"

    def keys(self) -> NDArray[np.int64]:
        """Return [N] int64 made from the digests: equal pixels have equal keys."""
        return np.ascontiguousarray(self.digests[:, :8]).view("<i8")[:, 0]


def _digests(images_NHWC: NDArray[Any]) -> NDArray[Any]:
    shape = repr(images_NHWC.shape[1:]).encode()
    out = np.empty((len(images_NHWC), 16), np.uint8)
    for i, image in enumerate(np.ascontiguousarray(images_NHWC)):
        out[i] = np.frombuffer(hashlib.sha256(shape + image.tobytes()).digest()[:16], np.uint8)
    return out


def _classes(source: Source, raw: dict[str, _Raw]) -> list[str]:
    """Check every label and return the class names."""
    for part in raw.values():
        if part.num_rows == 0:
            raise DataError(f"data {part.name}: must have rows; it has none.")
    labels = raw["train"].labels
    highest = max(int(part.labels.max()) for part in raw.values())
    if highest >= MAX_CLASSES:
        raise DataError(f"data: labels must be below {MAX_CLASSES}; got {highest}. Number classes from 0 without gaps.")
    classes = source.classes or [str(k) for k in range(highest + 1)]
    for part in raw.values():
        bad = np.flatnonzero((part.labels < -1) | (part.labels >= len(classes)))
        if len(bad):
            raise DataError(
                f"{part.name_of(int(bad[0]))}: label must be in 0..{len(classes) - 1}, or -1 for none; got "
                f"{int(part.labels[bad[0]])} ({len(bad)} such rows in {part.name})."
            )
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise DataError(
            f"data: every class must have labelled training rows; {classes[empty[0]]!r} (label {empty[0]}) has none. "
            "Number labels from 0 without gaps, or give it rows."
        )
    if len(classes) < 2:
        raise DataError(f"data: must have at least two classes; got {classes}.")
    return classes


def _choose(spec: DataSpec, raw: dict[str, _Raw], classes: list[str]) -> _split.Chosen:
    """Split, and stop where the same picture is on both sides."""
    chosen = _split.choose(
        spec, {n: p.labels for n, p in raw.items()}, {n: p.keys() for n, p in raw.items()}, len(classes)
    )
    if chosen.shared is not None and spec.overlap == "error":
        (side_a, row_a), (side_b, row_b), count = chosen.shared
        raise DataError(
            f"{raw[side_a].name_of(row_a)}: must not be in {side_b} too; the same pixels are {raw[side_b].name_of(row_b)} "
            f"({count} such training rows). Accuracy would be flattered. Set data.overlap: drop to leave them out of "
            "training."
        )
    for name, (origin, rows, _) in chosen.splits.items():
        if len(rows) == 0:
            raise DataError(f"data {name}: must have rows; the split of {raw[origin].num_rows} rows leaves none.")
    origin, rows, labelled = chosen.splits["train"]
    left = np.bincount(raw[origin].labels[rows[labelled == 1]], minlength=len(classes))
    if not left.all():
        k = int(np.argmin(left))
        raise DataError(
            f"data: every class must keep labelled training rows after the split; {classes[k]!r} (label {k}) has "
            f"{int((raw[origin].labels == k).sum())} rows, and validation, test, limit or labelled leave none. Give it more."
        )
    return chosen


def _write_split(path: Path, raw: _Raw, rows: NDArray[Any], labelled: NDArray[Any], offset: int, digest: Any) -> None:
    num, shape = len(rows), raw.images.shape[1:]
    layout = {
        "images": ("u1", (num, *shape)), "labels": ("<i8", (num,)), "labelled": ("u1", (num,)), "ids": ("<i8", (num,)),
        "digests": ("u1", (num, 16)),
    }  # fmt: skip
    with atomic.replacing(path) as tmp, TensorWriter(tmp, layout) as writer:
        for start in range(0, num, _CHUNK):
            part = rows[start : start + _CHUNK]
            fields = {
                "images": raw.images[part], "labels": raw.labels[part], "ids": part + offset,
                "labelled": labelled[start : start + _CHUNK], "digests": raw.digests[part],
            }  # fmt: skip
            for name, array in fields.items():
                writer.append(name, array)
            for name in ("digests", "labels", "labelled", "ids"):
                digest.update(np.ascontiguousarray(fields[name]).tobytes())
    digest.update(path.name.encode())


def _moments(path: Path) -> tuple[list[float], list[float]]:
    """Return per-channel mean and standard deviation of pixels in [0, 1]; exact integer sums, so no order matters."""
    images = open_arrays(path)["images"]
    total = np.zeros(images.shape[3], np.int64)
    squares = np.zeros(images.shape[3], np.int64)
    for part in _chunks(images):
        wide = part.astype(np.int64)
        total += wide.sum(axis=(0, 1, 2))
        squares += (wide * wide).sum(axis=(0, 1, 2))
    num = images.shape[0] * images.shape[1] * images.shape[2]
    mean = total / num
    std = np.sqrt(np.maximum(squares / num - mean**2, 0))
    return (mean / 255).tolist(), (std / 255).tolist()


def _chunks(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]
