"""A power cut cannot be tried here; the order that survives one can: whole and synced, then renamed, then the folder synced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _faults import Broken, check
from _faults_labels import write

from potstill.core import atomic
from potstill.pipeline.cache import ArtifactCache


class Watch:
    """Every sync and rename, in order, with what was on disk at that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Any]] = []
        self._sync, self._rename = os.fsync, os.rename
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.rename)
        monkeypatch.setattr(os, "rename", self.rename)

    def fsync(self, fd: int) -> None:
        self.events.append(("synced", _state(os.fstat(fd))))
        self._sync(fd)

    def rename(self, source: Any, target: Any) -> None:
        source = Path(source)
        inside = [source, *source.rglob("*")] if source.is_dir() else [source]
        states = {str(p): _state(p.stat()) for p in inside}
        self._rename(source, target)
        self.events.append(("renamed", (states, Path(target).parent.stat().st_ino, str(target))))

    def order_holds(self) -> int:
        """Return the number of renames; raise Broken where one was not prepared for, or not made to last."""
        synced: set[Any] = set()
        waiting: dict[int, str] = {}
        renames = 0
        for kind, what in self.events:
            if kind == "synced":
                synced.add(what)
                waiting.pop(what[0], None)
                continue
            states, parent, target = what
            check(not waiting, f"{target}: renamed before the folder of {list(waiting.values())} was synced")
            for path, state in states.items():
                check(state in synced, f"{path}: renamed to {target}, and not synced as it is")
            waiting[parent] = target
            renames += 1
        check(not waiting, f"the folder of {list(waiting.values())} was not synced")
        return renames


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """watched() -> the Watch over a store that is written and an artifact that is published."""

    def run() -> Watch:
        watch = Watch(monkeypatch)
        cache = ArtifactCache(tmp_path / "cache")
        cache.begin("k", {})
        write(str(cache.work("k")))
        (cache.work("k") / "log.jsonl").write_text("written without further ado\n")
        cache.publish("k", {"name": "label", "stage": "label"})
        return watch

    yield run


def test_what_is_renamed_is_whole_on_disk_and_stays(watched: Any) -> None:
    assert watched().order_holds() >= 8 * 2 + 2, "8 shards, their records, two manifests"


@pytest.mark.parametrize("part", ["fsync_dir", "fsync_tree"])
def test_a_missing_sync_is_noticed(watched: Any, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(atomic, part, lambda folder: None)
    with pytest.raises(Broken):
        watched().order_holds()


def test_a_file_that_is_not_synced_is_noticed(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch.fsync
    monkeypatch.setattr(
        Watch, "fsync", lambda self, fd: watch(self, fd) if os.path.isdir(f"/proc/self/fd/{fd}") else None
    )
    with pytest.raises(Broken, match="not synced as it is"):
        watched().order_holds()
