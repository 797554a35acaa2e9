"""Digests: canonical JSON, files and folders by content, with a stat cache that keeps reruns fast."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from potstill.core.atomic import write_json

_FRESH_NS = 2_000_000_000
"""A file changed this recently is never cached: its next change could leave the same stamp."""


def canonical_json(value: Any) -> bytes:
    """Serialise with sorted keys and no spaces; NaN and Inf are refused. A file name may have bytes that are no UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape")


def digest_json(value: Any) -> str:
    """Return the SHA-256 (hex) of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, always read from disk."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class StatCache:
    """Content digests remembered by (size, mtime, ctime, inode): a copy can set the second, nothing can set the third.

    Args:
        file: where the memory is kept between runs; None keeps it in this process only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, list[Any]] = {}
        self._dirty = False
        if file is not None and file.exists():
            try:
                loaded = json.loads(file.read_bytes())
                self._known = loaded if isinstance(loaded, dict) else {}
            except ValueError:
                self._known = {}

    def digest(self, path: Path) -> str:
        """Return the content digest of a file, or of a folder (names and contents, sorted)."""
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            return digest_json([[p.relative_to(path).as_posix(), self._file_digest(p)] for p in files])
        return self._file_digest(path)

    def _file_digest(self, path: Path) -> str:
        real = os.path.realpath(path)
        stat = os.stat(real)
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(real)
        if isinstance(known, list) and len(known) == 5 and known[:4] == stamp:
            return str(known[4])
        value = digest_file(Path(real))
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _FRESH_NS:
            self._known[real] = [*stamp, value]
            self._dirty = True
        return value

    def save(self) -> None:
        """Keep what was learned, if there is a place for it."""
        if self._file is not None and self._dirty:
            write_json(self._file, self._known)
            self._dirty = False
