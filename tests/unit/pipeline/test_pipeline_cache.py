"""The artifact cache: what it lists, what it removes, and what is finished in it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from potstill.core import artifact
from potstill.core.errors import PotstillError, StoreError
from potstill.pipeline.cache import ArtifactCache, default_root

DAY = 86400


def add(cache: ArtifactCache, key: str, size: int = 100, days: float = 0, finished: bool = True) -> Path:
    """Put an artifact in, last used so many days ago."""
    (cache.work(key) / "weights.bin").write_bytes(os.urandom(size))
    path = cache.publish(key, {"name": f"name of {key}"}) if finished else cache.work(key)
    used = time.time() - days * DAY
    os.utime(path, (used, used))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


def test_what_is_half_done_is_not_finished(cache: ArtifactCache) -> None:
    assert not cache.has("a") and not cache.half_done("a")
    cache.work("a")
    assert not cache.half_done("a"), "an empty folder is nothing to go on from"
    add(cache, "a", finished=False)
    assert cache.half_done("a") and not cache.has("a") and not cache.path("a").exists()
    cache.publish("a", {"name": "x"})
    assert cache.has("a") and not cache.half_done("a")
    assert artifact.manifest(cache.path("a"))["name"] == "x" and artifact.damage(cache.path("a")) == []


def test_an_artifact_made_again_takes_the_place_of_the_damaged_one(cache: ArtifactCache) -> None:
    path = add(cache, "a")
    (path / "weights.bin").write_bytes(b"damaged")
    add(cache, "a", size=50)
    assert artifact.damage(path) == [] and (path / "weights.bin").stat().st_size == 50


def test_entries_are_listed_least_recently_used_first(cache: ArtifactCache) -> None:
    add(cache, "new", 10, days=1)
    add(cache, "old", 2000, days=9)
    add(cache, "open", 300, days=5, finished=False)
    entries = list(cache.entries())
    assert [(e.key, e.state, e.name) for e in entries] == [
        ("old", "finished", "name of old"), ("open", "half-done", "?"), ("new", "finished", "name of new")
    ]  # fmt: skip
    assert entries[1].bytes == 300 and entries[0].bytes > 2000
    cache.touch("old")
    assert [e.key for e in cache.entries()] == ["open", "new", "old"]


@pytest.mark.parametrize(
    ("how", "removed"),
    [
        ({"older_than_days": 4}, {"old", "open"}),
        ({"older_than_days": 30}, set()),
        ({"older_than_days": 0}, {"old", "open", "new", "bad", "lost"}),
        ({"damaged": True}, {"bad", "lost"}),
        ({"everything": True}, {"old", "open", "new", "bad", "lost"}),
        ({}, set()),
    ],
)
def test_collecting_removes_what_was_asked_and_no_more(
    cache: ArtifactCache, how: dict[str, object], removed: set[str]
) -> None:
    add(cache, "new", days=1)
    add(cache, "old", days=9)
    add(cache, "open", days=5, finished=False)
    bad, lost = add(cache, "bad", days=1), add(cache, "lost", days=1)
    data = bytearray((bad / "weights.bin").read_bytes())
    data[7] ^= 1
    (bad / "weights.bin").write_bytes(data)
    (lost / "artifact.json").write_text("{")
    for path in (bad, lost):
        os.utime(path, (time.time() - DAY,) * 2)
    assert {e.key for e in cache.collect(**how)} == removed  # type: ignore[arg-type]
    assert {e.key for e in cache.entries()} == {"new", "old", "open", "bad", "lost"} - removed
    assert not any(cache.has(key) or cache.half_done(key) for key in removed)


def test_collecting_waits_for_who_is_making_it(cache: ArtifactCache) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent("""
            import sys, time
            from pathlib import Path
            from potstill.pipeline.cache import ArtifactCache
            cache = ArtifactCache(Path(sys.argv[1]))
            with cache.lock("a"):
                (cache.work("a") / "weights.bin").write_bytes(b"x")
                print("making", flush=True)
                time.sleep(0.5)
                cache.publish("a", {"name": "a"})
        """), str(cache.root)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert maker.stdout is not None and maker.stdout.readline() == "making\n"
    (entry,) = cache.entries()
    assert entry.state == "half-done"
    cache.collect(everything=True)
    assert maker.wait(timeout=30) == 0, "its folder was taken away while it worked"
    assert (cache.path("a") / "weights.bin").read_bytes() == b"x"


def test_damage_is_named_with_the_command_that_mends_it(cache: ArtifactCache) -> None:
    path = add(cache, "a")
    (path / "weights.bin").unlink()
    with pytest.raises(StoreError, match=r"damage in weights\.bin.*potstill cache gc --damaged"):
        artifact.verify(path)
    (path / "artifact.json").write_text((path / "artifact.json").read_text().replace("name of a", "name of b"))
    with pytest.raises(StoreError, match="checksum that does not match"):
        artifact.manifest(path)


def test_records_of_time_are_no_part_of_what_an_artifact_is(cache: ArtifactCache) -> None:
    digests = []
    for key, seconds, weights in (("a", "1", b"w"), ("b", "2", b"w"), ("c", "1", b"v")):
        work = cache.work(key)
        (work / "weights.bin").write_bytes(weights)
        (work / "log.jsonl").write_text(seconds)
        (work / "fit.json").write_text(seconds)
        digests.append(artifact.content_digest(cache.publish(key, {"name": key})))
    assert digests[0] == digests[1] != digests[2]


def test_the_cache_is_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "x" / ".." / "y"))
    assert default_root() == tmp_path / "y"
    monkeypatch.delenv("POTSTILL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "z"))
    assert default_root() == tmp_path / "z" / "potstill"
    (tmp_path / "file").write_text("")
    with pytest.raises(PotstillError, match=r"the cache must be a folder that can be written.*Set POTSTILL_CACHE"):
        ArtifactCache(tmp_path / "file")
