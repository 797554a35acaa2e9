"""The artifact cache: finished stages by key, half-done ones beside them, one lock each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.core import artifact, atomic
from potstill.core.errors import PotstillError
from potstill.core.hashing import StatCache


def default_root() -> Path:
    """Return POTSTILL_CACHE, or the user's cache folder."""
    named = os.environ.get("POTSTILL_CACHE")
    if named:
        return Path(named).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))).expanduser() / "potstill"


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    key: str
    path: Path
    state: str
    """finished, or half-done."""
    name: str
    bytes: int
    used: float
    """Seconds since the epoch of the last use."""


class ArtifactCache:
    """Finished artifacts under `artifacts/<key>`; what is still being made under `work/<key>`.

    Args:
        root: created if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("artifacts", "work", "locks"):
                (root / name).mkdir(parents=True, exist_ok=True)
            if not os.access(root / "work", os.W_OK):
                raise OSError(0, "read-only folder")
        except OSError as err:
            raise PotstillError(
                f"{root}: the cache must be a folder that can be written; got {err.strerror}. Set POTSTILL_CACHE."
            ) from err
        self.digests = StatCache(root / "digests.json")

    def path(self, key: str) -> Path:
        """Return where a finished artifact is, or will be."""
        return self.root / "artifacts" / key

    def has(self, key: str) -> bool:
        """Return whether the artifact is finished."""
        return (self.path(key) / artifact.MANIFEST).exists()

    def work(self, key: str) -> Path:
        """Return the folder where the artifact is being made; what an interruption left is in it."""
        folder = self.root / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def begin(self, key: str, makings: dict[str, int]) -> bool:
        """Start or go on making an artifact, under its lock.

        Args:
            key: of the artifact.
            makings: `artifact.making` of each input.

        Returns:
            False where half-done work was thrown away: an input was made again since, so what was read then may have been
            damaged.
        """
        note = self._note(key)
        try:
            same = bool(atomic.read_json(note) == makings)
        except PotstillError:
            same = False
        stale = not same and self.half_done(key)
        if stale:
            self.drop_work(key)
        if not same:
            atomic.write_json(note, makings)
        return not stale

    def drop_work(self, key: str) -> None:
        """Throw half-done work away."""
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def call_group(self, key: str, group: str | None) -> None:
        """Tell the other processes of a torchrun group that the stage begins; None: that it is over."""
        path = self.root / "locks" / f"{key}.group"
        path.unlink(missing_ok=True) if group is None else atomic.write_bytes(path, group.encode())

    def called(self, key: str, group: str) -> bool:
        """Return whether rank 0 of this group has begun."""
        try:
            return (self.root / "locks" / f"{key}.group").read_bytes() == group.encode()
        except OSError:
            return False

    def _note(self, key: str) -> Path:
        return self.root / "locks" / f"{key}.json"

    def half_done(self, key: str) -> bool:
        """Return whether an interruption left something to go on from."""
        folder = self.root / "work" / key
        return folder.is_dir() and any(folder.iterdir())

    def lock(self, key: str, waiting: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Return the lock under which one process makes this artifact; `waiting` is called where another has it."""
        return atomic.locked(self.root / "locks" / f"{key}.lock", waiting)

    def publish(self, key: str, manifest: dict[str, Any]) -> Path:
        """Seal the work folder and move it to its final place, durably."""
        work, final = self.work(key), self.path(key)
        try:
            artifact.seal(work, manifest)
            atomic.fsync_tree(work)
            if final.exists():  # damaged and now made again
                shutil.rmtree(final)
            os.rename(work, final)
            atomic.fsync_dir(final.parent)
            self._note(key).unlink(missing_ok=True)
        except OSError as err:
            raise PotstillError(
                f"{final}: could not be written; got {err.strerror or err}. What is done so far is kept: free space, "
                "then run the same command again."
            ) from err
        return final

    def touch(self, key: str) -> None:
        """Mark an artifact as used now."""
        os.utime(self.path(key))

    def entries(self) -> Iterator[Entry]:
        """Yield everything in the cache, least recently used first."""
        found = []
        for state, folder in (("finished", "artifacts"), ("half-done", "work")):
            for path in (self.root / folder).iterdir():
                size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
                found.append(Entry(path.name, path, state, _name(path), size, path.stat().st_mtime))
        yield from sorted(found, key=lambda e: e.used)

    def collect(
        self, *, everything: bool = False, damaged: bool = False, older_than_days: float | None = None
    ) -> list[Entry]:
        """Remove artifacts, and half-done work, and return what was removed.

        Args:
            everything: all of it.
            damaged: finished artifacts whose bytes are not as written; reads every file.
            older_than_days: not used for so long.
        """
        removed = []
        for entry in list(self.entries()):
            old = older_than_days is not None and time.time() - entry.used > older_than_days * 86400
            if everything or old or (damaged and entry.state == "finished" and _is_damaged(entry.path)):
                with self.lock(entry.key):
                    (entry.path / artifact.MANIFEST).unlink(missing_ok=True)  # first: half-removed is not finished
                    shutil.rmtree(entry.path, ignore_errors=True)
                removed.append(entry)
        return removed


def _name(path: Path) -> str:
    try:
        return str(artifact.manifest(path)["name"])
    except PotstillError:
        return "?"


def _is_damaged(path: Path) -> bool:
    try:
        return bool(artifact.damage(path))
    except PotstillError:
        return True
