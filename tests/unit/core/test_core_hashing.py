"""Digests follow content, and the cache of them is never wrong."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.core import hashing
from potstill.core.hashing import StatCache, canonical_json, digest_bytes, digest_json

LONG_AGO = 1_600_000_000_000_000_000


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as old, so that its digest is kept."""
    now = time.time_ns
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now() + 60_000_000_000)


class Reads:
    """Counts how often a file's bytes are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num = 0
        read = hashing.digest_file

        def counted(path: Path) -> str:
            self.num += 1
            return read(path)

        monkeypatch.setattr(hashing, "digest_file", counted)


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", StatCache()
    path.write_bytes(b"one")
    stat = path.stat()
    first = cache.digest(path)
    path.write_bytes(b"two")  # same size, same inode
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.digest(path) == digest_bytes(b"two") != first


def test_a_change_that_keeps_size_time_and_inode_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `cp -p` over a file, or an archive whose times are all alike, leaves it."""
    path, cache = tmp_path / "a", StatCache()
    path.write_bytes(b"one")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    settled(monkeypatch)
    before, first = path.stat(), cache.digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
    assert cache.digest(path) == digest_bytes(b"two") != first


def test_an_unchanged_file_is_read_once_over_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    reads = Reads(monkeypatch)
    path, memory = tmp_path / "a", tmp_path / "digests.json"
    path.write_bytes(b"one")
    for _ in range(3):
        cache = StatCache(memory)
        assert cache.digest(path) == cache.digest(path) == digest_bytes(b"one")
        cache.save()
    assert reads.num == 1
    path.write_bytes(b"three")
    assert StatCache(memory).digest(path) == digest_bytes(b"three")


@pytest.mark.parametrize("memory", ["", "[]", "{", '{"a": 3}', "null"])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, memory: str) -> None:
    (tmp_path / "digests.json").write_text(memory)
    (tmp_path / "a").write_bytes(b"one")
    assert StatCache(tmp_path / "digests.json").digest(tmp_path / "a") == digest_bytes(b"one")


def test_a_memory_of_another_form_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    for entry in (stamp, [*stamp[:2], stamp[3], "0" * 64], [*stamp, "0" * 64, 1], "x"):
        (tmp_path / "digests.json").write_text(json.dumps({os.path.realpath(path): entry}))
        assert StatCache(tmp_path / "digests.json").digest(path) == digest_bytes(b"one")


def test_a_folder_counts_by_its_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> Path:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    digest = StatCache().digest
    first = digest(folder("a", x="1", y="2"))
    assert digest(folder("b", y="2", x="1")) == first
    assert (
        len({first, digest(folder("c", x="2", y="1")), digest(folder("d", x="1")), digest(folder("e", x="1", z="2"))})
        == 4
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(PLAIN)
def test_canonical_json_says_what_it_was_given(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


def test_order_of_keys_does_not_count_and_nan_is_refused() -> None:
    assert digest_json({"a": 1, "b": {"c": 2, "d": 3}}) == digest_json({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest_json([1, 2]) != digest_json([2, 1])
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})
