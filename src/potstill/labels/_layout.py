"""Names and sizes on disk, and the checksums that bind them. Shapes: N rows of K values: a number for each class, or a
tapped output laid flat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from potstill.core import atomic
from potstill.core.errors import PotstillError, StoreError
from potstill.core.hashing import digest_file, digest_json
from potstill.core.outputs import StoreOutput
from potstill.labels.codecs import AnyCodec, CodecSpec

SCHEMA = 2
MANIFEST = "manifest.json"
TARGET_SHARD_BYTES = 32 << 20


@dataclass(frozen=True)
class Shard:
    """One file: some rows of one view."""

    folder: str
    """logits, for final outputs of either kind; or features."""
    view: int
    index: int
    first: int
    rows: int

    @property
    def file(self) -> str:
        """Path within the store."""
        return f"{self.folder}/v{self.view:03d}-s{self.index:05d}.safetensors"


def default_shard_rows(codec: CodecSpec, width: int, micro_batch: int) -> int:
    """Return a multiple of the micro-batch that makes shards of about 32 MiB."""
    return max(1, TARGET_SHARD_BYTES // codec.row_bytes(width) // micro_batch) * micro_batch


def shards_of(num_rows: int, views: int, shard_rows: int, output: StoreOutput) -> list[Shard]:
    """Return every shard of a store, in order."""
    folder = "features" if output == "features" else "logits"
    return [
        Shard(folder, view, i, first, min(shard_rows, num_rows - first))
        for view in range(views)
        for i, first in enumerate(range(0, num_rows, shard_rows))
    ]


def sidecar(folder: Path, shard: Shard) -> Path:
    """Return where a finished shard's own record is."""
    return folder / shard.file.replace(".safetensors", ".json")


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value with a checksum of itself."""
    return {**value, "checksum": digest_json(value)}


def unseal(path: Path, key: str) -> dict[str, Any]:
    """Read a sealed JSON file that has `key`. Raises StoreError where it is missing, torn, another file or changed by a
    single bit."""
    try:
        value = atomic.read_json(path)
        body = {k: v for k, v in value.items() if k != "checksum"}
        if value["checksum"] != digest_json(body) or path.read_bytes() != atomic.json_bytes(value):
            raise ValueError("its checksum does not match")
        if key not in body:
            raise ValueError("another file in its place")
    except (OSError, PotstillError, AttributeError, KeyError, TypeError, ValueError) as err:
        raise StoreError(f"{path}: must be as it was written; got {err}.") from err
    return body


def codec_from(value: Any) -> CodecSpec:
    """Return the codec that a manifest names."""
    codec: CodecSpec = TypeAdapter(AnyCodec).validate_python(value)
    return codec


def shard_problem(folder: Path, entry: dict[str, Any]) -> str | None:
    """Return what is wrong with a shard's file, or None; reads all of it."""
    path = folder / entry["file"]
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != entry["bytes"]:
        return f"must have {entry['bytes']} bytes; it has {path.stat().st_size} (truncated or foreign)"
    if digest_file(path) != entry["sha256"]:
        return "has bytes that are not those written (SHA-256 differs)"
    return None
