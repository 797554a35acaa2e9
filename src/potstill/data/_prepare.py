"""Read a source once, split it, check it, write it. Shapes: N rows, X the shape of one sample, H horizon, V variables."""

from __future__ import annotations

import hashlib
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
from potstill.data._base import DataSpec, Source
from potstill.data._raw import Raw, moments

META = "data.json"
EXTRAS = ("targets", "weights", "groups")
"""What a split may have beside its samples and labels."""
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
        raw = {name: Raw(name, reader, source, scratch, shown) for name, reader in source.splits.items()}
    classes = _classes(source, raw)
    chosen = _choose(spec, raw, classes)
    meta: dict[str, Any] = {
        "kind": source.kind,
        "shape": list(source.shape),
        "rate_hz": source.rate_hz,
        "target_shape": list(source.target_shape) if source.target_shape else None,
        "classes": classes,
        "splits": {},
        "dropped": chosen.dropped,
    }
    digest = hashlib.sha256()
    offsets = {"train": 0, "validation": raw["train"].num_rows}
    offsets["test"] = offsets["validation"] + (raw["validation"].num_rows if "validation" in raw else 0)
    for name, (origin, rows, labelled) in chosen.splits.items():
        _write_split(out / f"{name}.safetensors", raw[origin], rows, labelled, offsets[origin], digest)
        labels = raw[origin].labels[rows]
        counts = [] if source.target_shape else np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
        meta["splits"][name] = {"rows": len(rows), "labelled": int(labelled.sum()), "class_counts": counts}
    meta["mean"], meta["std"] = moments(source.kind, open_arrays(out / "train.safetensors")["samples"])
    stated = {k: meta[k] for k in ("kind", "shape", "rate_hz", "target_shape")}
    meta["digest"] = digest_json([digest.hexdigest(), classes, stated])
    atomic.write_json(out / META, meta)
    for name in raw:
        (scratch / f"{name}.safetensors").unlink()
    scratch.rmdir()


def _classes(source: Source, raw: dict[str, Raw]) -> list[str]:
    """Check every label and return the class names."""
    for part in raw.values():
        if part.num_rows == 0:
            raise DataError(f"data {part.name}: must have rows; it has none.")
    if source.target_shape is not None:
        return _variables(source, raw)
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


def _variables(source: Source, raw: dict[str, Raw]) -> list[str]:
    """Return the names of the variables that are forecast; one of a text that is written."""
    num = 1 if source.target_text else source.target_shape[-1] if source.target_shape else 0
    names = source.classes or [str(v) for v in range(num)]
    if len(names) != num:
        raise DataError(f"data: must have a name for each of {num} variables; got {names}.")
    if not (raw["train"].labels >= 0).any():
        raise DataError("data: some training row must have its targets; got none.")
    if not source.target_text and len(source.target_shape or ()) == 1:
        _both_sides(raw["train"], names)
    return names


def _both_sides(train: Raw, names: list[str]) -> None:
    """Check that every class is one that some training rows have and others have not."""
    assert train.targets is not None
    known = train.labels >= 0
    counts = np.zeros(len(names), np.int64)
    for start in range(0, train.num_rows, _CHUNK):
        counts += (
            (train.targets[start : start + _CHUNK] * known[start : start + _CHUNK, None]).sum(axis=0).astype(np.int64)
        )
    wrong = np.flatnonzero((counts == 0) | (counts == known.sum()))
    if len(wrong):
        k = int(wrong[0])
        raise DataError(f"data: every class must be one that some training rows have and others have not; {names[k]!r} is one of "
                        f"{counts[k]} of {int(known.sum())} rows. Leave it out, or give it rows.")  # fmt: skip


def _choose(spec: DataSpec, raw: dict[str, Raw], classes: list[str]) -> _split.Chosen:
    """Split, and stop where the same sample is on both sides."""
    values = raw["train"].targets is not None
    num_classes = 1 if values else len(classes)
    groups = raw["train"].extras.get("groups")
    chosen = _split.choose(
        spec, {n: p.labels for n, p in raw.items()}, {n: p.keys() for n, p in raw.items()}, num_classes, groups
    )
    if chosen.shared is not None and spec.overlap == "error":
        (side_a, row_a), (side_b, row_b), count = chosen.shared
        raise DataError(
            f"{raw[side_a].name_of(row_a)}: must not be in {side_b} too; the same sample is {raw[side_b].name_of(row_b)} "
            f"({count} such training rows). Accuracy would be flattered. Set data.overlap: drop to leave them out of "
            "training."
        )
    for name, (origin, rows, _) in chosen.splits.items():
        if len(rows) == 0:
            raise DataError(f"data {name}: must have rows; the split of {raw[origin].num_rows} rows leaves none.")
    if values:
        return chosen
    origin, rows, labelled = chosen.splits["train"]
    left = np.bincount(raw[origin].labels[rows[labelled == 1]], minlength=len(classes))
    if not left.all():
        k = int(np.argmin(left))
        raise DataError(
            f"data: every class must keep labelled training rows after the split; {classes[k]!r} (label {k}) has "
            f"{int((raw[origin].labels == k).sum())} rows, and validation, test, limit or labelled leave none. Give it more."
        )
    return chosen


def _write_split(path: Path, raw: Raw, rows: NDArray[Any], labelled: NDArray[Any], offset: int, digest: Any) -> None:
    num = len(rows)
    sources = {"samples": raw.samples, "labels": raw.labels, "digests": raw.digests, **raw.extras}
    if raw.targets is not None:
        sources["targets"] = raw.targets
    layout = {name: (array.dtype.str, (num, *array.shape[1:])) for name, array in sources.items()}
    layout |= {"labelled": ("|u1", (num,)), "ids": ("<i8", (num,))}
    with atomic.replacing(path) as tmp, TensorWriter(tmp, layout) as writer:
        for start in range(0, num, _CHUNK):
            part = rows[start : start + _CHUNK]
            fields = {name: array[part] for name, array in sources.items()}
            fields |= {"ids": part + offset, "labelled": labelled[start : start + _CHUNK]}
            for name, array in fields.items():
                writer.append(name, array)
            for name in ("digests", "labels", "labelled", "ids", *(n for n in EXTRAS if n in fields)):
                digest.update(np.ascontiguousarray(fields[name]).tobytes())
    digest.update(path.name.encode())
