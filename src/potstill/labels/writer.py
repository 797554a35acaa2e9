"""Writing a store: shard by shard, each whole or absent; check; and what repair throws away. Shapes: M rows of a
micro-batch, K values of a row laid flat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import StoreError
from potstill.core.hashing import digest_file
from potstill.core.outputs import StoreOutput
from potstill.core.progress import Progress
from potstill.core.tensorfile import TensorWriter
from potstill.labels._batches import micro_batch_rows, validated
from potstill.labels._kl import KlError
from potstill.labels._layout import (
    MANIFEST,
    SCHEMA,
    Shard,
    default_shard_rows,
    seal,
    shard_problem,
    shards_of,
    sidecar,
    unseal,
)
from potstill.labels.codecs import CodecSpec

_LISTED = ("file", "sha256", "bytes", "view", "first", "rows", "min", "max")
"""What the manifest takes over from each shard's own record."""

Label = Callable[[NDArray[np.int64], int], NDArray[Any]]


def write_store(
    folder: Path,
    label: Label,
    *,
    num_rows: int,
    shape: tuple[int, ...],
    views: int,
    codec: CodecSpec,
    output: StoreOutput,
    identity: dict[str, Any],
    fingerprint: dict[str, Any],
    micro_batch: int = 64,
    shard_rows: int | None = None,
    accept_fingerprint: bool = False,
    progress: Progress | None = None,
) -> None:
    """Fill a store; shards that are finished and whole are kept, so a second call goes on where the first stopped.

    Args:
        folder: created; the manifest is written last.
        label: (rows [M], view) -> [M, *shape] float32: the teacher on a canonical micro-batch, a pure function.
        num_rows: rows of the training split.
        shape: of a row: (number of classes,), or that of a place inside the teacher.
        views: augmented versions of each row.
        codec: how rows are kept.
        output: what the rows are.
        identity: JSON of what the labels come from (teacher, data, augmentation), kept in the manifest.
        fingerprint: numerics of this process; shards of another are refused.
        micro_batch: M; every call of `label` gets exactly so many rows.
        shard_rows: rows a shard, a multiple of M; None makes shards of about 32 MiB.
        accept_fingerprint: go on from shards written under other numerics.
        progress: where to report.

    Raises:
        StoreError: NaN, Inf, no probabilities or values that the codec cannot hold; half-done work of another fingerprint or another store.
        PotstillError: the disk is full or read-only; finished shards stay.
    """
    shard_rows = shard_rows or default_shard_rows(codec, math.prod(shape), micro_batch)
    if shard_rows % micro_batch:
        raise ValueError(f"shard_rows must be a multiple of micro_batch={micro_batch}; got {shard_rows}")
    head = {
        "schema": SCHEMA,
        "identity": identity,
        "num_rows": num_rows,
        "shape": list(shape),
        "views": views,
        "codec": codec.model_dump(mode="json"),
        "output": output,
        "micro_batch": micro_batch,
        "shard_rows": shard_rows,
    }
    shards = shards_of(num_rows, views, shard_rows, output)
    total = sum(-(-s.rows // micro_batch) for s in shards)
    task = (progress or Progress("quiet")).task(
        "features" if output == "features" else "soft labels", total * micro_batch, "rows"
    )
    with atomic.locked(folder / ".lock", remove=True), task as shown:
        atomic.sweep(folder)
        entries = []
        for shard in shards:
            entry = _finished(folder, shard, head, fingerprint, accept_fingerprint)
            if entry is None:
                entry = _write_shard(folder, shard, label, head, codec, fingerprint, shown.advance)
            else:
                shown.resume_at(shown.done + -(-shard.rows // micro_batch) * micro_batch)
            entries.append(entry)
        kl = KlError.merged([KlError.from_json(e["kl"]) for e in entries])
        listed = [{k: e[k] for k in _LISTED} for e in entries]
        manifest = {**head, "shards": listed, "error": kl.as_dict(), "fingerprint": fingerprint}
        atomic.write_json(folder / MANIFEST, seal(manifest))


def _finished(
    folder: Path, shard: Shard, head: dict[str, Any], fingerprint: dict[str, Any], accept: bool
) -> dict[str, Any] | None:
    """Return the record of a shard that is on disk, whole and ours; None if it must be written."""
    record = sidecar(folder, shard)
    if not record.exists():
        return None
    try:
        entry = unseal(record, "kl")
    except StoreError:
        return None
    if entry["file"] != shard.file:  # a record written to another's place
        return None
    if entry["head"] != head:
        raise StoreError(
            f"{folder}: half-done shards must belong to this store; {shard.file} does not. Delete the folder."
        )
    if entry["fingerprint"] != fingerprint and not accept:
        theirs = entry["fingerprint"]
        changed = ", ".join(k for k in theirs if theirs[k] != fingerprint.get(k))
        raise StoreError(
            f"{folder}: labels must be finished under the numerics they were begun with; got another {changed}. Rows "
            "written now would differ from earlier ones in their last bits. Go on where it began, pass "
            "--accept-fingerprint, or delete the folder."
        )
    return None if shard_problem(folder, entry) else entry


def _write_shard(
    folder: Path, shard: Shard, label: Label, head: dict[str, Any], codec: CodecSpec, fingerprint: dict[str, Any],
    advance: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    shape, size = tuple(head["shape"]), head["micro_batch"]
    layout = {name: (dtype, (shard.rows, *shape)) for name, (dtype, shape) in codec.layout(math.prod(shape)).items()}
    kl, low, high = KlError(), np.inf, -np.inf
    path = folder / shard.file
    with atomic.replacing(path) as tmp, TensorWriter(tmp, layout) as writer:
        for start in range(shard.first, shard.first + shard.rows, size):
            rows_M, kept = micro_batch_rows(start // size, head["num_rows"], size)
            values = validated(label(rows_M, shard.view)[:kept], rows_M, shard.view, shape, head["output"])
            fields = _encoded(codec, values, rows_M, shard.view)
            kl.add(values, fields, codec, head["output"])
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            for name, array in fields.items():
                writer.append(name, array)
            advance(size)
    entry = {
        "file": shard.file, "sha256": digest_file(path), "bytes": path.stat().st_size, "view": shard.view,
        "first": shard.first, "rows": shard.rows, "min": low, "max": high, "kl": kl.to_json(),
        "head": head, "fingerprint": fingerprint,
    }  # fmt: skip
    atomic.write_json(sidecar(folder, shard), seal(entry))
    return entry


def _encoded(
    codec: CodecSpec, values_MK: NDArray[Any], rows_M: NDArray[np.int64], view: int
) -> dict[str, NDArray[Any]]:
    try:
        return codec.encode(values_MK)
    except StoreError as err:
        raise StoreError(f"labels, rows {rows_M[0]} to {rows_M[len(values_MK) - 1]} of view {view}: {err}") from err


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written."""

    file: str
    """Path within the store."""
    what: str


def check(folder: Path) -> list[Damage]:
    """Return every damaged or missing part of a finished store; reads every byte, never raises for damage."""
    try:
        manifest = unseal(folder / MANIFEST, "shards")
    except StoreError as err:
        known = [_record(p) for p in sorted(folder.glob("*/*.json"))]
        return [Damage(MANIFEST, str(err)), *_damaged(folder, [e for e in known if e], [])]
    shards = shards_of(manifest["num_rows"], manifest["views"], manifest["shard_rows"], manifest["output"])
    records = []
    for shard, listed in zip(shards, manifest["shards"], strict=True):
        record = _record(sidecar(folder, shard))
        if record is None or {k: record[k] for k in _LISTED} != listed:
            name = sidecar(folder, shard).relative_to(folder).as_posix()
            records.append(Damage(name, "is missing or has bytes that are not those written"))
    return _damaged(folder, manifest["shards"], records)


def _record(path: Path) -> dict[str, Any] | None:
    try:
        return unseal(path, "kl")
    except StoreError:
        return None


def _damaged(folder: Path, entries: list[dict[str, Any]], records: list[Damage]) -> list[Damage]:
    found = [(e["file"], shard_problem(folder, e)) for e in entries]
    return [Damage(file, problem) for file, problem in found if problem] + records


def discard_damaged(folder: Path) -> list[str]:
    """Remove what `check` names, and the manifest, so that `write_store` makes just those again; return the names."""
    names = [damage.file for damage in check(folder)]
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    return names
